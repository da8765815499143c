"""The next record: keeps, lists, delists and revokes, follows the ones before, and heals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.publish.lineage import lineage
from methrics.node.publish.next_record import Changes, least_delisting, next_record
from methrics.schema.errors import ConfigError
from methrics.schema.example import example_catalog
from methrics.schema.judging.records import Added, RecordBook
from methrics.schema.wire.envelope import Item, Kind, sign_item
from methrics.schema.wire.limits import EARLY_MAX, LISTED_MAX, PERIOD_MAX, REVOKED_MAX
from methrics.schema.wire.record import Listing, Record, Revoked, encode_record

CATALOG = example_catalog()
SEED = b"s" * 32
NOW = 1_800_000_000
YEAR = 365 * 86_400
IDS = st.binary(min_size=32, max_size=32)


def signed(record: Record) -> tuple[Item, Record]:
    return sign_item(Kind.RECORD, encode_record(record), SEED), record


def following(
    *heads: tuple[Item, Record], now: int = NOW, **changes: object
) -> tuple[Item, Record]:
    made = Changes(**changes)  # type: ignore[arg-type]
    return signed(next_record(lineage(heads), made, now=now, expires=now + YEAR))


def test_the_first_record_names_none_before_it() -> None:
    _, record = following(listed=[CATALOG])
    assert record.previous == ()
    assert record.catalogs == (Listing(CATALOG.id, NOW),)
    assert (record.time, record.expires) == (NOW, NOW + YEAR)


def test_what_was_listed_stays_listed_since_then() -> None:
    first = following(listed=[CATALOG])
    item, record = following(first, now=NOW + 99, listed=[CATALOG])
    assert record.previous == (first[0].id,)
    assert record.catalogs == first[1].catalogs
    assert item.id != first[0].id


def test_a_record_is_newer_than_the_one_before_within_the_same_second() -> None:
    first = following(listed=[CATALOG])
    assert following(first)[1].time == NOW + 1


def test_a_delisted_catalog_stays_until_no_report_of_it_can_arrive() -> None:
    first = following(listed=[CATALOG])
    end = least_delisting(CATALOG, NOW)
    assert end - NOW == max(one.lateness for one in CATALOG.types.values())
    second = following(first, delisted={CATALOG.id: end})
    assert second[1].catalogs == (Listing(CATALOG.id, NOW, end),)
    assert following(second, now=end + PERIOD_MAX)[1].catalogs == second[1].catalogs
    assert following(second, now=end + PERIOD_MAX + 1)[1].catalogs == ()


def test_attack_the_end_of_a_listing_is_neither_moved_nor_cancelled() -> None:
    """Nodes that know the record before would judge the same report otherwise."""
    first = following(listed=[CATALOG])
    second = following(first, delisted={CATALOG.id: NOW + 9})
    for changes in (
        {"listed": [CATALOG]},
        {"delisted": {CATALOG.id: NOW + 8}},
        {"delisted": {CATALOG.id: NOW + 10}},
    ):
        with pytest.raises(ConfigError) as caught:
            following(second, **changes)
        assert caught.value.code == "delisted-already"
    assert following(second, delisted={CATALOG.id: NOW + 9})[1].catalogs == second[1].catalogs


def test_a_catalog_that_left_the_list_can_be_listed_again() -> None:
    first = following(listed=[CATALOG])
    second = following(first, delisted={CATALOG.id: NOW + 9})
    later = NOW + 10 + PERIOD_MAX
    third = signed(
        next_record(lineage([second]), Changes(listed=[CATALOG]), now=later, expires=later + YEAR)
    )
    assert third[1].catalogs == (Listing(CATALOG.id, later),)


def test_a_repeated_wish_to_delist_leaves_the_end_as_it_is() -> None:
    first = following(listed=[CATALOG])
    second = following(first, delisted={CATALOG.id: NOW + 9}, exactly=False)
    third = following(second, delisted={CATALOG.id: NOW + 99}, exactly=False)
    assert third[1].catalogs == second[1].catalogs == (Listing(CATALOG.id, NOW, NOW + 9),)


def test_only_a_listed_catalog_can_be_delisted() -> None:
    with pytest.raises(ConfigError) as caught:
        following(delisted={CATALOG.id: NOW + 9})
    assert caught.value.code == "unlisted-catalog"


def test_the_earliest_revocation_stays() -> None:
    first = following(revoked={"signin": Revoked(600, "wrong")})
    second = following(first, revoked={"signin": Revoked(1200, "later")})
    assert second[1].revoked == {"signin": Revoked(600, "wrong")}


def test_a_second_record_of_a_restored_backup_is_healed() -> None:
    first = following(listed=[CATALOG])
    one = following(first, now=NOW + 10, revoked={"signin": Revoked(600, "wrong")})
    other = following(first, now=NOW + 20, delisted={CATALOG.id: NOW + 10 * 86_400})
    book = RecordBook()
    for item, record in (first, one, other):
        book.add(item, record)
    assert book.proof(first[0].key) is not None
    healed = following(one, other, now=NOW + 30)
    assert book.add(*healed) is Added.NEW
    assert book.proof(first[0].key) is None
    assert healed[1].catalogs == (Listing(CATALOG.id, NOW, NOW + 10 * 86_400),), "the end stays"
    assert set(healed[1].revoked) == {"signin"}


def test_a_heal_stays_when_the_old_records_come_again() -> None:
    first = following(listed=[CATALOG])
    one, other = following(first, now=NOW + 10), following(first, now=NOW + 20)
    healed = following(one, other, now=NOW + 30)
    newest = following(healed, now=NOW + 40)
    assert first[1].settled is None
    assert one[1].settled is None
    assert healed[1].settled == newest[1].settled == NOW + 20
    book = RecordBook()
    for found in (newest, one, other, first):
        book.add(*found)
    assert book.proof(first[0].key) is None
    assert book.heads(first[0].key) == [newest[0]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=7))
def test_one_record_heals_whatever_forks_there_are(parents: list[int]) -> None:
    made = [following(listed=[CATALOG])]
    for at, parent in enumerate(parents, 1):
        before = [made[parent]] if parent < len(made) else []
        made.append(following(*before, now=NOW + 10 * at))
    book = RecordBook()
    for found in made:
        book.add(*found)
    key = made[0][0].key
    heads = {made[-1][0].raw, *(book.proof(key) or ())}
    last = following(*(found for found in made if found[0].raw in heads), now=NOW + 100)
    book.add(*last)
    assert book.proof(key) is None


def test_nothing_follows_a_record_from_the_future() -> None:
    first = following(now=NOW + EARLY_MAX + 2)
    with pytest.raises(ConfigError) as caught:
        following(first, now=NOW)
    assert caught.value.code == "record-from-future"


def test_a_record_cannot_have_expired_already() -> None:
    with pytest.raises(ConfigError) as caught:
        next_record(lineage([]), Changes(), now=NOW, expires=NOW)
    assert caught.value.code == "bad-expiry"


def test_a_list_is_bounded() -> None:
    full = signed(
        Record(
            time=NOW,
            expires=NOW + YEAR,
            catalogs=tuple(Listing(bytes(31) + bytes([n]), NOW) for n in range(LISTED_MAX)),
            revoked={f"type_{n}": Revoked(600, "wrong") for n in range(REVOKED_MAX)},
        )
    )
    for code, changes in (
        ("too-many-catalogs", {"listed": [CATALOG]}),
        ("too-many-revoked", {"revoked": {"signin": Revoked(600, "wrong")}}),
    ):
        with pytest.raises(ConfigError) as caught:
            following(full, **changes)
        assert caught.value.code == code


@st.composite
def records(draw: st.DrawFn) -> Record:
    listed = draw(
        st.dictionaries(IDS, st.one_of(st.none(), st.integers(NOW + 1, NOW + YEAR)), max_size=8)
    )
    names = st.sampled_from(["visit", "click", "buy"])
    revoked = draw(st.dictionaries(names, st.integers(0, 9).map(lambda n: n * 600), max_size=3))
    return Record(
        time=NOW - draw(st.integers(0, 99)),
        expires=NOW + YEAR,
        catalogs=tuple(Listing(one, NOW - 100, listed[one]) for one in sorted(listed)),
        revoked={name: Revoked(time, "wrong") for name, time in sorted(revoked.items())},
    )


@given(st.lists(records(), max_size=3))
def test_a_record_that_follows_others_loses_no_catalog_and_no_revocation(
    before: list[Record],
) -> None:
    heads = {signed(record)[0].id: signed(record) for record in before}
    item, record = following(*heads.values())
    assert record.previous == tuple(sorted(heads))
    assert {one.catalog for one in record.catalogs} == {
        one.catalog for found in before for one in found.catalogs
    }
    for found in before:
        for one in found.catalogs:
            kept = record.listings[one.catalog]
            assert kept.listed <= one.listed
            assert one.delisted is None or (kept.delisted or one.delisted + 1) <= one.delisted
        for name, revoked in found.revoked.items():
            assert record.revoked[name].time <= revoked.time
    assert len(item.raw) > 0
