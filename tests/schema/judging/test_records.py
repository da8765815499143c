"""A book of records knows the same, in whatever order they arrive, and stays bounded."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.schema.judging import records as module
from methrics.schema.judging.records import (
    EVER_MAX,
    RECORDS_MAX,
    Added,
    KnownRecord,
    RecordBook,
)
from methrics.schema.wire.envelope import Item, public_key
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import decode_record, sign_record
from methrics.schema.wire.topic import short_key

SEED = bytes(32)
KEY = public_key(SEED)
CATALOGS = [bytes([n]) * 32 for n in range(6)]


def make(
    time: int,
    *previous: Item,
    lists: tuple[int, ...] = (),
    seed: bytes = SEED,
    settled: int | None = None,
) -> Item:
    """A record of that time."""
    names = [one.id for one in previous]
    listed = [CATALOGS[n] for n in lists]
    return sign_record(listed, seed, time=time, expires=TIME_MAX, previous=names, settled=settled)


def add(book: RecordBook, item: Item) -> Added:
    return book.add(item, decode_record(item.payload))


@dataclass
class Known:
    """What a book tells about the key."""

    newest: bytes | None
    heads: list[bytes]
    proof: tuple[bytes, bytes] | None
    ever: list[bool] = field(default_factory=list)


def known(book: RecordBook) -> Known:
    newest = book.newest(KEY)
    return Known(
        newest and newest.item.id,
        [item.id for item in book.heads(KEY)],
        book.proof(KEY),
        [book.ever_listed(KEY, one) for one in CATALOGS],
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Item]:
    """Up to as many records as a book keeps, each with some of the others before it."""
    made: list[Item] = []
    for _ in range(draw(st.integers(1, RECORDS_MAX))):
        before = draw(st.lists(st.sampled_from(made), max_size=4, unique=True)) if made else []
        lists = tuple(sorted(draw(st.sets(st.integers(0, 5), max_size=3))))
        time = draw(st.integers(0, 6))
        settled = draw(st.none() | st.integers(0, time - 1)) if time else None
        made.append(make(time, *before, lists=lists, settled=settled))
    return list({item.id: item for item in made}.values())


@given(histories(), st.data())
def test_the_order_of_arrival_does_not_matter(items: list[Item], data: st.DataObject) -> None:
    one, other = RecordBook(), RecordBook()
    for item in items:
        add(one, item)
    again = data.draw(st.permutations(items + items[:2]))
    for item in again:
        add(other, item)
    assert known(one) == known(other)


@given(histories(), st.data())
def test_a_record_that_settles_all_before_it_leaves_no_contradiction(
    items: list[Item], data: st.DataObject
) -> None:
    last = make(8, *items[:1], settled=7)
    book = RecordBook()
    for item in data.draw(st.permutations([*items, last])):
        add(book, item)
    assert known(book).newest == last.id
    assert book.heads(KEY) == [last]
    assert book.proof(KEY) is None


@given(st.integers(2, 5), st.permutations(range(9)))
def test_contradictions_later_than_what_is_settled_stay_open_in_any_order(
    settled: int, order: list[int]
) -> None:
    first = make(1)
    forks = [make(time, first) for time in range(2, 6)]
    last = make(6, forks[0], settled=settled)
    items = [first, *forks, last, *forks[:3]]
    book = RecordBook()
    for at in order:
        add(book, items[at])
    still = forks[settled - 1 :]
    assert book.proof(KEY) == ((forks[0].raw, still[0].raw) if still else None)
    assert book.heads(KEY) == [last, *reversed(still)]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.data())
def test_the_newest_and_what_was_ever_listed_are_known_of_any_number_of_records(
    times: list[int], data: st.DataObject
) -> None:
    items = [make(time, lists=(time % 6,)) for time in times]
    order = data.draw(st.permutations(items))
    book = RecordBook()
    for item in order:
        add(book, item)
    newest = book.newest(KEY)
    assert newest is not None
    assert newest.record.time == max(times)
    listed = {time % 6 for time in times}
    assert [book.ever_listed(KEY, one) for one in CATALOGS] == [n in listed for n in range(6)]
    assert len(book.heads(KEY)) <= RECORDS_MAX


def test_a_book_tells_what_a_record_changed() -> None:
    book = RecordBook()
    first = make(1)
    second, fork = make(2, first), make(3, first)
    assert book.newest(KEY) is None
    assert book.proof(KEY) is None
    assert book.heads(KEY) == []
    assert add(book, second) is Added.NEW
    assert add(book, first) is Added.OLDER
    assert add(book, second) is Added.KNOWN
    assert add(book, fork) is Added.EQUIVOCATION
    assert book.newest(KEY) == (fork, decode_record(fork.payload))
    assert book.proof(KEY) == (second.raw, fork.raw)
    assert book.heads(KEY) == [fork, second]
    assert add(book, make(4, second, fork)) is Added.NEW
    assert book.proof(KEY) is None


def test_attack_an_equivocation_is_not_buried_by_further_records() -> None:
    book = RecordBook()
    first = make(1)
    second, fork = make(2, first), make(3, first)
    last = fork
    for item in (first, second, fork):
        add(book, item)
    for time in range(4, 40):
        last = make(time, last)
        add(book, last)
    assert book.proof(KEY) == (second.raw, fork.raw)
    newest = book.newest(KEY)
    assert newest is not None
    assert newest.item == last
    add(book, make(50, last, second, fork))
    assert book.proof(KEY) is None


def test_attack_a_thief_cannot_heal_in_the_past() -> None:
    book = RecordBook()
    first = make(1)
    second, fork = make(5, first), make(6, first)
    for item in (first, second, fork, make(4, second, fork)):
        add(book, item)
    assert book.proof(KEY) == (second.raw, fork.raw)


def test_attack_a_healed_contradiction_is_not_opened_by_replaying_its_records() -> None:
    first = make(1)
    second, fork = make(2, first), make(3, first)
    heal = make(4, second, fork, settled=3)
    newest = make(5, heal, settled=3)
    book = RecordBook()
    assert add(book, newest) is Added.NEW
    assert add(book, second) is Added.OLDER
    assert add(book, fork) is Added.OLDER
    assert book.proof(KEY) is None
    assert book.heads(KEY) == [newest]


def test_attack_a_fork_of_more_records_than_one_can_name_is_healed_by_one() -> None:
    forks = [make(1, lists=(n,)) for n in range(6)]
    book = RecordBook()
    for item in forks:
        add(book, item)
    assert book.proof(KEY) is not None
    add(book, make(2, *forks[:4], settled=1))
    assert book.proof(KEY) is None


def test_attack_settled_records_do_not_displace_others() -> None:
    first = make(10)
    second, fork = make(30, first, lists=(0,), settled=20), make(31, first, settled=20)
    others = [make(40 + n, settled=20) for n in range(4)]
    book = RecordBook()
    for item in [*others, fork, second]:
        add(book, item)
    before = known(book)
    for time in range(20):
        add(book, make(time, first))
    assert known(book) == before
    assert book.proof(KEY) == (second.raw, fork.raw)


def test_keys_do_not_mix() -> None:
    book = RecordBook()
    other = make(9, seed=bytes([1]) * 32, lists=(1,))
    add(book, make(1, lists=(0,)))
    add(book, other)
    assert known(book).ever == [True, *[False] * 5]
    assert book.proof(KEY) is None
    assert [one.item for one in book.newest_of(short_key(other.key))] == [other]
    assert book.newest_of("aaaaaaaaaaaaaaaa") == []


def test_attack_a_book_of_many_keys_or_catalogs_stays_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEYS_MAX", 3)
    book = RecordBook()
    done = [add(book, make(1, seed=bytes([n]) * 32)) for n in range(5)]
    assert done == [Added.NEW] * 3 + [Added.FULL] * 2
    for batch in range(EVER_MAX // 32 + 3):
        ids = [(batch * 32 + n).to_bytes(32, "big") for n in range(32)]
        add(book, sign_record(ids, SEED, time=batch + 2, expires=TIME_MAX))
    ever = [book.ever_listed(KEY, n.to_bytes(32, "big")) for n in range(EVER_MAX + 96)]
    assert sum(ever) == EVER_MAX


def test_threads_may_share_a_book() -> None:
    items = [make(time, lists=(time % 6,)) for time in range(60)]
    book = RecordBook()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda item: add(book, item), items))
    newest = book.newest(KEY)
    assert newest is not None
    assert newest.item == items[-1]
    assert known(book).ever == [True] * 6


def test_who_reads_while_the_first_record_of_a_key_is_added_sees_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    book, seen = RecordBook(), list[object]()
    proof = module._proof

    def meanwhile(records: Sequence[KnownRecord]) -> tuple[KnownRecord, KnownRecord] | None:
        seen.append(book.newest_of(short_key(KEY)))
        return proof(records)

    monkeypatch.setattr(module, "_proof", meanwhile)
    first = make(1)
    add(book, first)
    assert seen == [[]]
    assert [one.item for one in book.newest_of(short_key(KEY))] == [first]


def test_a_proof_is_told_while_the_contradiction_is_being_healed() -> None:
    book = RecordBook()
    pair = tuple(KnownRecord(one, decode_record(one.payload)) for one in (make(1), make(2)))
    looks = [pair, None]

    class Healed:
        @property
        def proof(self) -> object:
            return looks.pop(0)

    book._namespaces[KEY] = Healed()  # type: ignore[assignment]
    assert book.proof(KEY) == tuple(one.item.raw for one in pair)
    assert book.proof(KEY) is None
