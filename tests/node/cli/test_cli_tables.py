"""The one table printer: plain and whole for programs, folded to a terminal's width."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.cli.tables import cell_text, plain_value, print_table, table_lines

WORD = st.text("abz[]/ ", min_size=1, max_size=30).map(lambda text: f"<{text}>")


@given(st.lists(st.tuples(WORD, WORD), max_size=5))
def test_every_cell_is_whole_and_each_row_is_a_line(rows: list[tuple[str, str]]) -> None:
    lines = table_lines(("first", "second"), rows)
    assert len(lines) == len(rows) + 1
    for line, (left, right) in zip(lines[1:], rows, strict=True):
        assert line.startswith(left)
        assert line.endswith(right)


def test_numbers_stand_at_the_right() -> None:
    rows = [("a", 1, None), ("b", 1000, True)]
    assert table_lines(("name", "n", "flag"), rows, indent=2) == [
        "  name     n  flag",
        "  a        1",
        "  b     1000  yes",
    ]


def test_a_narrow_terminal_folds_and_cuts_nothing() -> None:
    digest = "0123456789abcdef" * 4
    lines = table_lines(("digest",), [(digest,)], width=40)
    assert "".join(line.strip() for line in lines[1:]) == digest
    assert max(map(len, lines)) <= 40


def test_no_value_can_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("text",), [("\x1b[2J\x07hidden\r",)])
    assert capsys.readouterr().out == "text\n?[2J?hidden?\n"


def test_attack_a_value_is_shown_as_it_is() -> None:
    text = ":warning: [red]not red[/red] \\[x] https://example.org"
    assert table_lines((":x: [b]",), [(text,)]) == [":x: [b]", text]


@pytest.mark.parametrize("breaking", ["\n", "\r\n", "\x85", "\u2028", "\u202e", "\t", "\x9b2J"])
def test_attack_a_value_cannot_pretend_to_be_another_row(breaking: str) -> None:
    lines = table_lines(("app", "n"), [(f"shop{breaking}bank", 1)])
    assert len(lines) == 2
    assert lines[1].startswith("shop?")


def test_attack_many_rows_take_memory_for_what_they_hold() -> None:
    tracemalloc.start()
    table_lines(("n",), [(n,) for n in range(500)])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20 * 1024 * 1024, "a line is as wide as its table, not as the widest possible"


def test_values_have_one_form_for_people_and_one_for_programs() -> None:
    assert cell_text(True) == "yes"
    assert cell_text(None) == ""
    assert plain_value(b"\x01\xff") == "01ff"
    assert plain_value(datetime(2026, 9, 21, 12, 20, tzinfo=UTC)) == "2026-09-21T12:20:00+00:00"
    assert plain_value([Decimal(2), Decimal("2.5")]) == [2, 2.5]
    assert plain_value({1: b"\x02"}) == {"1": "02"}
