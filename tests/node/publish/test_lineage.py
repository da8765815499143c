"""No copy of a key takes back what another has revoked or ended, however the history has forked."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from methrics.node.publish.lineage import Lineage, lineage
from methrics.node.publish.next_record import Changes, next_record
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.errors import ConfigError
from methrics.schema.example import example_source
from methrics.schema.judging.records import RecordBook
from methrics.schema.wire.envelope import Item, Kind, public_key, sign_item, split
from methrics.schema.wire.limits import PERIOD_MAX, RECORD_PREVIOUS_MAX
from methrics.schema.wire.record import (
    Listing,
    Record,
    Revoked,
    decode_record,
    encode_record,
    sign_record,
)

SEED = b"s" * 32
KEY = public_key(SEED)
NOW = 1_800_000_000
DAY = 86_400
YEAR = 365 * DAY
FIRST = load(sign(parse_source(example_source()), SEED))
SECOND = load(sign(parse_source(example_source()), SEED, FIRST))
CATALOGS = [FIRST, SECOND]

Found = tuple[Item, Record]


def signed(record: Record) -> Found:
    return sign_item(Kind.RECORD, encode_record(record), SEED), record


def made(now: int, *found: Found, **changes: object) -> Found:
    wish = Changes(**changes)  # type: ignore[arg-type]
    return signed(next_record(lineage(found), wish, now=now, expires=now + YEAR))


def bare(time: int, *previous: Found, settled: int | None = None) -> Found:
    names = [item.id for item, _ in previous]
    item = sign_record([], SEED, time=time, expires=time + YEAR, previous=names, settled=settled)
    return item, decode_record(item.payload)


@dataclass
class Histories:
    """Records that copies of one key sign, each of which finds only some of those before."""

    now: int = NOW
    records: list[Found] = field(default_factory=list)

    def sign(self, found: list[Found], changes: Changes) -> Found | None:
        """The next record, None if an end that is set forbids these changes."""
        try:
            one = signed(
                next_record(lineage(found), changes, now=self.now, expires=self.now + 3 * YEAR)
            )
        except ConfigError as error:
            assert error.code in {"delisted-already", "unlisted-catalog"}
            return None
        self.records.append(one)
        return one


@st.composite
def wishes(draw: st.DrawFn, now: int) -> Changes:
    catalog = draw(st.sampled_from(CATALOGS))
    match draw(st.sampled_from(["list", "end", "revoke", "renew"])):
        case "list":
            return Changes(listed=[catalog])
        case "end":
            return Changes(delisted={catalog.id: now + draw(st.integers(21, 60)) * DAY})
        case "revoke":
            start = (now // 600 - draw(st.integers(0, 9))) * 600
            return Changes(revoked={draw(st.sampled_from("abc")): Revoked(start, "wrong")})
        case _:
            return Changes()


def check_kept(found: list[Found], after: Record) -> None:
    """The record keeps every revocation and every end of those that were found before it."""
    for _, record in found:
        for name, revoked in record.revoked.items():
            assert after.revoked[name].time <= revoked.time
        for one in record.catalogs:
            kept = after.listings.get(one.catalog)
            if one.delisted is None or kept is None:
                continue
            again = kept.listed > one.delisted + PERIOD_MAX
            assert again or (kept.delisted is not None and kept.delisted <= one.delisted)


def check_named(before: Lineage, after: Record) -> None:
    """The record names the newest and the other heads, as many as it can."""
    named = set(after.previous)
    heads = [one.item.id for one in before.heads]
    pair = {one.item.id for one in before.proof}
    assert len(named) <= RECORD_PREVIOUS_MAX
    assert heads[:1] == [one.item.id for one in before.found[:1]]
    assert named >= pair | set(heads[:1])
    if len(pair | set(heads)) <= RECORD_PREVIOUS_MAX:
        assert named == pair | set(heads)
    else:
        assert len(named) == RECORD_PREVIOUS_MAX
        rest = [one for one in heads if one in named - pair]
        assert rest == [one for one in heads if one not in pair][: len(rest)]


@given(st.data())
def test_attack_no_copy_of_the_key_takes_back_a_revocation_or_an_end(data: st.DataObject) -> None:
    made_by = Histories()
    for _ in range(data.draw(st.integers(1, 9))):
        made_by.now += data.draw(st.sampled_from([1, 600, DAY, 40 * DAY, 400 * DAY]))
        choice = st.sampled_from(made_by.records or [bare(NOW)])
        found = data.draw(st.lists(choice, max_size=6)) if made_by.records else []
        one = made_by.sign(found, data.draw(wishes(made_by.now)))
        if one is not None:
            check_kept(found, one[1])
            check_named(lineage(found), one[1])
    made_by.now += 1
    everything = list(made_by.records)
    last = made_by.sign(everything, Changes())
    assert last is not None
    check_kept(everything, last[1])
    check_named(lineage(everything), last[1])
    book = RecordBook()
    for found_item in data.draw(st.permutations(made_by.records)):
        book.add(*found_item)
    assert book.proof(KEY) is None
    assert book.heads(KEY) == [last[0]]


@given(st.data())
def test_a_record_of_whatever_others_say_keeps_their_revocations_and_ends(
    data: st.DataObject,
) -> None:
    """Also of records that a careful writer would not sign."""
    found: list[Found] = []
    for _ in range(data.draw(st.integers(0, 5))):
        time = NOW - data.draw(st.integers(0, 900)) * DAY
        listings = []
        for one in sorted(CATALOGS, key=lambda one: one.id):
            begin = time - data.draw(st.integers(0, 900)) * DAY
            end = data.draw(st.none() | st.integers(1, 1200).map(lambda n: n * DAY))
            if data.draw(st.booleans()):
                listings.append(Listing(one.id, begin, None if end is None else begin + end))
        types = data.draw(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3))
        before = data.draw(st.lists(st.sampled_from(found), max_size=4)) if found else []
        ago = data.draw(st.none() | st.integers(1, 900))
        record = Record(
            time=time,
            expires=time + YEAR,
            previous=tuple(sorted({item.id for item, _ in before})),
            catalogs=tuple(listings),
            revoked={name: Revoked(start * 600, "wrong") for name, start in types.items()},
            settled=None if ago is None else time - ago * DAY,
        )
        found.append(signed(record))
    _, after = made(NOW, *found)
    check_kept(found, after)
    check_named(lineage(found), after)
    settled = [record.settled for _, record in found if record.settled is not None]
    assert not settled or (after.settled or 0) >= max(settled)


def test_attack_branches_that_parted_long_ago_are_merged() -> None:
    """A backup holds the first record; since then the owner has revoked and renewed."""
    root = made(NOW, listed=[FIRST])
    revoking = made(NOW + 1, root, revoked={"stop": Revoked(600, "wrong")})
    newer = made(NOW + 2, revoking)
    backup = made(NOW + 3, root)
    found = lineage([newer, backup])
    assert not found.proof
    assert [one.item for one in found.apart] == [newer[0]]
    item, record = made(NOW + 4, newer, backup)
    assert set(record.revoked) == {"stop"}
    assert record.previous == tuple(sorted([newer[0].id, backup[0].id]))
    assert record.settled == NOW + 3
    book = RecordBook()
    for one in (root, revoking, newer, backup, (item, record)):
        book.add(*one)
    assert book.proof(KEY) is None
    assert book.heads(KEY) == [item]


def test_attack_a_fork_that_was_settled_unseen_is_merged_when_it_is_found() -> None:
    root = made(NOW, listed=[FIRST])
    hidden = made(NOW + 1, root, revoked={"stop": Revoked(600, "wrong")})
    heal = made(NOW + 4, made(NOW + 2, root), made(NOW + 3, root))
    assert (heal[1].settled or 0) > hidden[1].time
    found = lineage([heal, hidden])
    assert [one.item for one in found.apart] == [hidden[0]]
    _, record = made(NOW + 5, heal, hidden)
    assert record.previous == (heal[0].id,)
    assert set(record.revoked) == {"stop"}


def test_of_many_forks_the_newest_are_named_and_all_are_merged() -> None:
    forks = [
        made(NOW + n, revoked={f"type_{n}": Revoked(600, "wrong")}, listed=[CATALOGS[n % 2]])
        for n in range(9)
    ]
    _, record = made(NOW + 10, *forks)
    named = {NOW + n for n, (item, _) in enumerate(forks) if item.id in record.previous}
    assert named == {NOW, NOW + 1, NOW + 7, NOW + 8}, "the two of the proof, and the newest"
    assert len(record.revoked) == 9
    assert set(record.listings) == {FIRST.id, SECOND.id}
    assert record.settled == NOW + 8


def test_an_old_record_brings_no_catalog_back_that_has_left_the_list() -> None:
    old = made(NOW, listed=[FIRST, SECOND])
    ended = made(NOW + 1, old, delisted={FIRST.id: NOW + 30 * DAY})
    later = NOW + 31 * DAY + PERIOD_MAX
    newest = made(later, ended)
    assert set(newest[1].listings) == {SECOND.id}
    assert not made(later + 1, newest, old, ended)[1].listings.keys() - {SECOND.id}
    again = made(later + 2, newest, listed=[FIRST])
    assert made(later + 3, again, old, ended)[1].listings[FIRST.id] == Listing(FIRST.id, later + 2)


def test_what_the_newest_has_too_is_told_of_no_ancestor() -> None:
    root = made(NOW, listed=[FIRST])
    second = made(NOW + 1, root, revoked={"stop": Revoked(600, "wrong")})
    found = lineage([root, second])
    assert [one.item for one in found.parents] == [second[0]]
    assert found.apart == ()
    dropped = bare(NOW + 2, second)
    assert [one.item for one in lineage([second, dropped]).apart] == [second[0]]
    assert set(made(NOW + 3, second, dropped)[1].revoked) == {"stop"}


def test_the_order_and_copies_of_what_was_found_do_not_matter() -> None:
    root = made(NOW, listed=[FIRST])
    forks = [made(NOW + n, root) for n in range(1, 7)]
    again = [(split(item.raw), record) for item, record in forks]
    assert lineage([root, *forks, *again]) == lineage([*reversed(again), root])
