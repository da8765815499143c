"""What a publisher goes by after relays told it their records, and what it then lets leave."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.outbox.records import Kept
from methrics.node.publish.standing import (
    EQUIVOCATION,
    EXPIRED,
    NO_RECORD,
    UNCHECKED,
    UNLISTED,
    WORDS,
    agree,
    heads_of,
    lasting,
    waits,
)
from methrics.schema.wire.envelope import Item, Kind, public_key, seal
from methrics.schema.wire.limits import EARLY_MAX
from methrics.schema.wire.record import Listing, sign_record
from methrics.schema.wire.topic import short_key

SEED = b"s" * 32
SHORT = short_key(public_key(SEED))
NOW = 1_800_000_000
FIRST, SECOND = b"1" * 32, b"2" * 32


def record(
    *catalogs: bytes | Listing,
    time: int = NOW - 1000,
    expires: int = NOW + 1000,
    before: Sequence[Item] = (),
    seed: bytes = SEED,
) -> Item:
    previous = [one.id for one in before]
    return sign_record(catalogs, seed, time=time, expires=expires, previous=previous)


R1 = record(FIRST)
R2 = record(FIRST, SECOND, time=NOW - 500, before=[R1])
OTHER = record(SECOND, time=NOW - 400, before=[R1])
HEALED = record(FIRST, SECOND, time=NOW - 300, before=[R2, OTHER])


def told(*relays: Sequence[Item], kept: Kept = Kept(), needed: int = 2) -> Kept:  # noqa: B008
    heard = [[item.raw for item in items] for items in relays]
    return agree(kept, heard, SHORT, now=NOW, needed=needed)


def why(kept: Kept, catalog: bytes, *, needed: int = 2, time: int = NOW - 100) -> str:
    return waits(kept, catalog, time, 600, now=NOW, needed=needed)


def test_two_relays_that_say_the_same_are_enough() -> None:
    kept = told([R2], [R2])
    assert kept == Kept((R2.raw,), 2)
    assert why(kept, FIRST) == why(kept, SECOND) == ""
    assert why(kept, b"3" * 32) == UNLISTED


def test_without_a_record_everything_waits() -> None:
    assert why(told([], []), FIRST) == NO_RECORD


def test_one_relay_is_enough_only_if_no_other_is_known() -> None:
    assert why(told([R1], needed=1), FIRST, needed=1) == ""
    assert why(told([R1], []), FIRST) == UNCHECKED
    assert why(Kept((R1.raw,), 1), FIRST, needed=2) == UNCHECKED, "a second relay is known now"


def test_a_record_stays_in_force_until_relays_agree_on_a_newer_one() -> None:
    kept = Kept((R1.raw,), 2)
    assert told([R2], [R1], kept=kept) == kept
    assert told([], kept=kept) == kept
    assert told([R2], [R2], kept=kept) == Kept((R2.raw,), 2)


def test_an_older_record_never_replaces_a_newer_one() -> None:
    kept = Kept((R2.raw,), 2)
    assert told([R1], [R1], kept=kept) == kept


def test_an_expired_record_lets_nothing_leave() -> None:
    old = record(FIRST, expires=NOW)
    assert why(told([old], [old]), FIRST) == EXPIRED


def test_attack_an_old_pair_that_is_brought_back_does_not_stop_publishers() -> None:
    """The record that healed it is forgotten, and anyone may hand the two old ones to a relay."""
    old = [
        record(one, time=NOW - 900 + n, expires=NOW - 800) for n, one in enumerate((FIRST, SECOND))
    ]
    newest = record(FIRST, time=NOW - 100, before=[HEALED])
    before = told([newest], [newest])
    assert why(before, FIRST, time=NOW - 1500) == ""
    for relays in ([newest, *old], [newest]), ([newest, *old], [newest, *old]):
        kept = told(*relays, kept=before)
        assert kept == Kept((newest.raw,), 2)
        assert why(kept, FIRST, time=NOW - 1500) == ""


def test_attack_a_settled_pair_that_is_brought_back_does_not_stop_publishers() -> None:
    newest = sign_record(
        [FIRST], SEED, time=NOW - 50, expires=NOW + 900, previous=[HEALED.id], settled=NOW - 400
    )
    before = told([newest], [newest])
    for relays in ([newest, R2, OTHER], [newest]), ([newest, R2, OTHER], [newest, OTHER, R2]):
        kept = told(*relays, kept=before)
        assert kept == Kept((newest.raw,), 2)
        assert why(kept, FIRST) == ""


def test_a_proof_of_which_an_older_record_expires_later_is_no_expired_record() -> None:
    pair = [record(FIRST, time=NOW - 900, expires=NOW), record(FIRST, time=NOW - 890)]
    newest = record(FIRST, time=NOW - 100, before=[HEALED])
    kept = Kept(tuple(item.raw for item in (*pair, newest)), 2)
    assert why(kept, FIRST) == ""
    assert why(kept, SECOND) == EQUIVOCATION
    gone = record(FIRST, time=NOW - 50, expires=NOW, before=[newest])
    assert why(Kept((*kept.raws, gone.raw), 2), FIRST) == EXPIRED


def test_attack_a_record_of_one_relay_is_not_kept_for_the_next_pass() -> None:
    """It may have been made for this person, to recognise whoever brings it back."""
    agreed = Kept((R1.raw,), 2)
    for before, relays in (
        (Kept(), ([R2],)),
        (Kept(), ([R2], [])),
        (Kept((R2.raw,), 1), ([], [])),
        (agreed, ([R2, OTHER], [R1])),
        (agreed, ([R2], [R1])),
    ):
        after = told(*relays, kept=before)
        kept = lasting(before, after, needed=2)
        assert kept.raws == (agreed.raws if before == agreed else ())
    assert lasting(agreed, told([R2], [R2], kept=agreed), needed=2) == Kept((R2.raw,), 2)
    assert lasting(Kept(), told([R2], needed=1), needed=1) == Kept((R2.raw,), 1)


def test_a_report_is_judged_by_its_own_time() -> None:
    kept = told(*[[record(Listing(FIRST, NOW - 5000, NOW - 50))]] * 2)
    assert why(kept, FIRST, time=NOW - 100) == ""
    assert why(kept, FIRST, time=NOW - 50) == UNLISTED
    assert why(kept, FIRST, time=NOW - 5599) == ""
    assert why(kept, FIRST, time=NOW - 5600) == UNLISTED


def test_of_an_equivocation_only_what_both_list_leaves() -> None:
    kept = told([R2, OTHER], [OTHER, R2])
    assert set(kept.raws) == {R2.raw, OTHER.raw}
    assert why(kept, SECOND) == ""
    assert why(kept, FIRST) == EQUIVOCATION


def test_a_proof_of_equivocation_from_one_relay_stops_what_one_record_does_not_list() -> None:
    kept = told([R2, OTHER], [R2], kept=Kept((R2.raw,), 2))
    assert why(kept, FIRST) == EQUIVOCATION


def test_a_later_record_that_names_both_heals() -> None:
    kept = told([R2, OTHER], [R2, OTHER])
    assert told([HEALED], [HEALED], kept=kept) == Kept((HEALED.raw,), 2)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xff" * 300,
        R2.raw[:-1] + bytes([R2.raw[-1] ^ 1]),
        record(FIRST, seed=b"t" * 32).raw,
        seal(Kind.RECORD, b"\xa0", SEED),
        record(FIRST, time=NOW + EARLY_MAX + 1, expires=NOW + 9999).raw,
    ],
    ids=["empty", "garbage", "forged", "other-namespace", "malformed", "future"],
)
def test_attack_bytes_that_are_no_record_of_the_namespace_count_for_nothing(bad: bytes) -> None:
    assert agree(Kept(), [[bad]] * 2, SHORT, now=NOW, needed=2).raws == ()
    kept = agree(Kept(), [[R1.raw, bad]] * 2, SHORT, now=NOW, needed=2)
    assert kept == Kept((R1.raw,), 2)


def test_attack_a_record_from_the_far_future_does_not_stop_the_present_one() -> None:
    far = record(SECOND, time=NOW + 10**9, expires=NOW + 10**9 + 1, before=[R2])
    assert told([R2, far], [R2, far]) == Kept((R2.raw,), 2)


@given(st.permutations([R1, R2, OTHER, HEALED]), st.integers(1, 4))
def test_the_order_of_records_does_not_matter(order: list[Item], size: int) -> None:
    shown = order[:size]
    found = heads_of([item.raw for item in shown], SHORT)
    assert found == heads_of([item.raw for item in reversed(shown)], SHORT)
    assert max(shown, key=lambda item: [R1, R2, OTHER, HEALED].index(item)).raw in found


@given(
    st.lists(st.lists(st.sampled_from([R1, R2, OTHER, HEALED]), max_size=3), max_size=3),
    st.sampled_from([Kept(), Kept((R1.raw,), 2), Kept((R2.raw,), 2)]),
)
def test_what_leaves_is_listed_in_every_record_that_is_gone_by(
    relays: list[list[Item]], before: Kept
) -> None:
    kept = told(*relays, kept=before)
    for catalog in (FIRST, SECOND):
        if why(kept, catalog) == "":
            assert kept.relays >= 2
            assert all(one.listed_at(catalog, NOW - 100, 600) for one in kept.records)


def test_every_reason_has_words() -> None:
    assert set(WORDS) == {UNLISTED, NO_RECORD, UNCHECKED, EXPIRED, EQUIVOCATION}
