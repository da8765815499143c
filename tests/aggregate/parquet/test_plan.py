"""Which parts an export writes: every row is in exactly one, and no row is written often."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import date
from itertools import pairwise
from math import log2

from hypothesis import given
from hypothesis import strategies as st

from methrics.aggregate.parquet.plan import FANOUT, MARGIN, Group, Write, is_over, plan
from methrics.aggregate.store.parts import Part, moment_of
from methrics.schema.wire.limits import DAY

MONTH = date(2026, 9, 1)
END = 1_790_812_800
"""2026-10-01 in Unix seconds."""


def part(first: int, last: int, rows: int, *, settled: bool = False) -> Part:
    name = f"raw/{first}-{last}"
    return Part(name, "item", 1, MONTH, first, last, rows, 0, b"", settled, moment_of(0))


class Table:
    """The rows of an event type and month, given by their numbers, and the parts that have them."""

    def __init__(self) -> None:
        self.alive: list[int] = []
        self.file: list[int] = []
        """The rows that are in the DuckDB file."""
        self.held: dict[Part, set[int]] = {}
        """part -> the rows that its file has"""
        self.dead: list[int] = []
        self.watermark = 0
        self.last = 0
        self.written = 0
        """Rows that were written so far, once for each time."""

    def add(self, rows: int, gap: int) -> None:
        numbers = range(self.last + 1 + gap, self.last + 1 + gap + rows)
        self.alive += numbers
        self.file += numbers
        self.last += gap + rows

    def delete(self, chosen: int) -> None:
        if self.alive:
            n = self.alive.pop(chosen % len(self.alive))
            self.file = [one for one in self.file if one != n]
            self.dead.append(n)

    def export(self, *, over: bool, broken: bool = False) -> list[Write]:
        settled = next((one for one in self.held if one.settled), None)
        opened = sorted((one for one in self.held if not one.settled), key=lambda one: one.first)
        new = len(self.file) - bisect_right(self.file, self.watermark)
        group = Group(1, MONTH, settled, opened, new, self.dead, broken, over)
        writes = plan(group, self.watermark, self.last)
        for write in writes:
            self._write(write)
        self.dead = []
        self.watermark = max([self.watermark, *(one.last for one in self.held)])
        return writes

    def _write(self, write: Write) -> None:
        floor = write.first if write.old is None else write.old.last + 1
        rows = set(self.file[bisect_left(self.file, floor) : bisect_right(self.file, write.last)])
        if write.old is not None:
            rows |= self.held[write.old] - set(self.dead)
        for one in write.replaced:
            del self.held[one]
        if rows:
            made = part(write.first, write.last, len(rows), settled=write.settled)
            self.held[made] = rows
            self.written += len(rows)
        if write.moves:
            self.file = [n for n in self.file if n > write.last]


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 40), st.integers(0, 3)),
    st.tuples(st.just("delete"), st.integers(0, 10**6)),
    st.tuples(st.just("export"), st.booleans(), st.booleans()),
)


@given(st.lists(STEPS, max_size=60))
def test_every_row_is_in_exactly_one_part(steps: list[tuple[object, ...]]) -> None:
    table = Table()
    for name, *values in [*steps, ("export", False, False)]:
        match name, values:
            case "add", [int(rows), int(gap)]:
                table.add(rows, gap)
            case "delete", [int(chosen)]:
                table.delete(chosen)
            case _, [over, broken]:
                table.export(over=bool(over), broken=bool(broken))
                found = sorted(n for rows in table.held.values() for n in rows)
                assert found == table.alive
                opened = sorted((one.first, one.last) for one in table.held if not one.settled)
                assert all(a[1] < b[0] for a, b in pairwise(opened))
                assert all(
                    one.first <= min(rows) <= max(rows) <= one.last
                    for one, rows in table.held.items()
                    if not one.settled
                )
                assert sum(one.settled for one in table.held) <= 1


@given(st.lists(st.integers(1, 200), min_size=1, max_size=80))
def test_parts_and_writes_grow_with_the_logarithm(sizes: list[int]) -> None:
    table = Table()
    for rows in sizes:
        table.add(rows, 0)
        table.export(over=False)
    total = len(table.alive)
    assert len(table.held) <= log2(total) / log2(FANOUT) + 2
    assert table.written <= total * (2 + FANOUT * log2(total + 1))


def test_an_export_without_news_writes_nothing() -> None:
    table = Table()
    assert table.export(over=True) == []
    table.add(5, 0)
    table.export(over=False)
    assert table.export(over=False) == []
    assert [one.moves for one in table.export(over=True)] == [True]
    assert table.export(over=True) == []


def test_only_the_part_with_a_deleted_row_is_written_again() -> None:
    table = Table()
    for rows in (900, 100, 10):
        table.add(rows, 0)
        table.export(over=False)
    table.delete(950)
    assert [(one.first, one.last) for one in table.export(over=False)] == [(901, 1000)]


def test_a_month_waits_until_it_is_quiet() -> None:
    table = Table()
    table.add(5, 0)
    assert not any(one.settled for one in table.export(over=True))
    assert all(one.settled for one in table.export(over=True))
    table.add(2, 0)
    assert [one.settled for one in table.export(over=True)] == [False]
    assert [(one.first, one.last, one.settled) for one in table.export(over=True)] == [(0, 7, True)]
    assert table.file == []
    table.add(30, 0)
    table.export(over=False)
    table.add(2, 0)
    assert [one.settled for one in table.export(over=True)] == [False]


def test_deleted_rows_leave_the_settled_part_while_new_rows_wait() -> None:
    table = Table()
    table.add(5, 0)
    table.export(over=False)
    table.export(over=True)
    table.add(2, 0)
    table.delete(0)
    writes = table.export(over=True)
    assert sorted((one.settled, one.last) for one in writes) == [(False, 7), (True, 5)]


def test_a_month_is_over_a_day_after_its_last_report_is_late() -> None:
    late = 3 * DAY
    assert not is_over(MONTH, late, END + late + MARGIN - 1)
    assert is_over(MONTH, late, END + late + MARGIN)
