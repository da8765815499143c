"""The kept entry: one for months, and few others, whatever an attacker blocks."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from methrics.node.publish.entries import (
    DAY,
    ENTRIES_MAX,
    ENTRIES_TIME,
    FOUND_MAX,
    LIFE,
    RETRY,
    SILENT_TIME,
    SILENT_VISITS,
    TRIED_MAX,
    KeptEntries,
    KeptEntry,
    Offer,
    Source,
    next_entry,
    note_answer,
    note_found,
    note_silence,
)

NOW = 1_800_000_000
MANY = tuple(f"/ip4/10.{n}.0.1/tcp/1/p2p/peer{n}" for n in range(40))


def visit(
    kept: KeptEntries, offer: Offer, answering: set[str], now: int, rng: random.Random
) -> tuple[KeptEntries, list[str]]:
    """One visit: entries are tried until one answers. Return those that were tried."""
    tried: list[str] = []
    while True:
        kept, entry = next_entry(kept, offer, tried, now, rng)
        if entry is None:
            return kept, tried
        tried.append(entry.address)
        if entry.address in answering:
            return note_answer(kept, entry.address), tried
        kept = note_silence(kept, entry.address, now)


def test_one_entry_is_kept_for_months_and_then_another_is_drawn() -> None:
    rng, kept, seen = random.Random(1), KeptEntries(), list[str]()
    for day in range(400):
        kept, tried = visit(kept, Offer(app=MANY), set(MANY), NOW + day * DAY, rng)
        assert len(tried) == 1
        seen += tried
    changes = [day for day in range(1, 400) if seen[day] != seen[day - 1]]
    assert 3 <= len(changes) <= 6
    lives = [after - before for before, after in zip([0, *changes], changes, strict=False)]
    assert all(LIFE[0] // DAY <= life <= LIFE[1] // DAY + 1 for life in lives)


@given(
    st.lists(st.tuples(st.integers(1, 10 * DAY), st.booleans()), max_size=60),
    st.sets(st.sampled_from(MANY), max_size=10),
    st.integers(0, 99),
)
def test_attack_blocked_entries_do_not_push_the_user_through_many(
    steps: list[tuple[int, bool]], evil: set[str], seed: int
) -> None:
    """Who blocks whatever he likes at any time makes few new entries see this machine."""
    rng, kept, now = random.Random(seed), KeptEntries(), NOW
    first: dict[str, int] = {}
    for wait, blocked in steps:
        now += wait
        kept, tried = visit(kept, Offer(app=MANY), evil if blocked else set(MANY), now, rng)
        assert len(tried) <= TRIED_MAX
        for address in tried:
            first.setdefault(address, now)
    moments = sorted(first.values())
    for at in moments:
        assert sum(at <= other < at + ENTRIES_TIME for other in moments) <= ENTRIES_MAX


def test_an_entry_that_never_answered_is_replaced_at_once() -> None:
    offer = Offer(app=MANY[:2])
    for seed in range(9):
        kept, tried = visit(KeptEntries(), offer, {MANY[0]}, NOW, random.Random(seed))
        assert tried[-1] == MANY[0]
        assert len(kept.drawn) == len(tried)


def test_an_entry_that_answered_is_replaced_after_days_and_tried_again() -> None:
    rng, offer = random.Random(1), Offer(app=MANY)
    kept, (first,) = visit(KeptEntries(), offer, set(MANY), NOW, rng)
    others = set(MANY) - {first}
    at = NOW
    for _ in range(SILENT_VISITS - 1):
        at += DAY
        kept, tried = visit(kept, offer, others, at, rng)
        assert tried == [first], "so long reports wait"
    assert at - NOW >= SILENT_TIME
    kept, tried = visit(kept, offer, others, at + DAY, rng)
    assert tried[0] == first
    second = tried[1]
    kept, tried = visit(kept, offer, others, at + DAY + 60, rng)
    assert tried == [second], "the first is left alone for a while"
    kept, tried = visit(kept, offer, set(MANY), at + DAY + 60 + RETRY, rng)
    assert tried == [first], "and is used again as soon as it answers"


def test_many_visits_within_an_hour_replace_nothing() -> None:
    rng, offer = random.Random(1), Offer(app=MANY)
    kept, (first,) = visit(KeptEntries(), offer, set(MANY), NOW, rng)
    for minute in range(60):
        kept, tried = visit(kept, offer, set(), NOW + 60 * minute, rng)
        assert tried == [first]


def test_the_users_list_comes_first_whatever_was_kept() -> None:
    rng = random.Random(1)
    kept, _ = visit(KeptEntries(), Offer(app=MANY[:3]), set(MANY), NOW, rng)
    kept, tried = visit(kept, Offer(user=MANY[5:7], app=MANY[:3]), set(MANY), NOW + 60, rng)
    assert tried[0] in MANY[5:7]
    assert [one.source for one in kept.drawn] == [Source.APP, Source.USER]


def test_the_entry_is_the_users_not_the_apps() -> None:
    rng = random.Random(1)
    kept, first = visit(KeptEntries(), Offer(app=MANY[:3]), set(MANY), NOW, rng)
    assert visit(kept, Offer(app=MANY[8:9]), set(MANY), NOW + DAY, rng)[1] == first
    assert kept.drawn[0].company == MANY[:3]


def test_discovered_entries_are_drawn_too_and_have_no_company() -> None:
    sources = {
        next_entry(KeptEntries(), Offer(app=MANY[:1], found=MANY[1:4]), (), NOW, random.Random(n))[
            1
        ]
        for n in range(40)
    }
    assert {(one.address, one.source, one.company) for one in sources if one} == {
        (MANY[0], Source.APP, MANY[:1]),
        *((address, Source.FOUND, ()) for address in MANY[1:4]),
    }


def test_a_relay_that_moved_is_used_at_its_new_address() -> None:
    rng = random.Random(1)
    kept, _ = visit(KeptEntries(), Offer(user=MANY[:1]), set(MANY), NOW, rng)
    moved = "/ip4/192.0.2.1/tcp/9/p2p/peer0"
    kept, tried = visit(kept, Offer(user=(moved,)), {moved}, NOW + 60, rng)
    assert tried == [moved]
    assert len(kept.drawn) == 1


def test_without_libp2p_only_urls_are_drawn_and_used() -> None:
    rng, urls = random.Random(1), tuple(f"https://relay{n}.example/" for n in range(3))
    kept, _ = visit(KeptEntries(), Offer(app=MANY), set(MANY), NOW, rng)
    light = Offer(app=urls[:1], found=(*MANY, *urls[1:]), urls_only=True)
    for day in range(400):
        kept, tried = visit(kept, light, set(urls), NOW + day * DAY, rng)
        assert len(tried) == 1
        assert set(tried) < set(urls), "another app's entry over libp2p is of no use here"


def test_no_list_gives_no_entry() -> None:
    assert next_entry(KeptEntries(), Offer(), (), NOW, random.Random(1))[1] is None


def test_a_clock_that_was_wrong_keeps_no_entry_for_years() -> None:
    ahead = NOW + 3650 * DAY
    one = KeptEntry(MANY[0], Source.APP, ahead, ahead + LIFE[1], silent=9, silent_since=ahead)
    kept, entry = next_entry(KeptEntries((one,)), Offer(app=MANY), (), NOW, random.Random(1))
    assert entry is not None
    assert entry.until == NOW + LIFE[1]
    assert kept.drawn == (entry,)


def test_what_is_discovered_is_bounded() -> None:
    kept = note_found(KeptEntries(), MANY, random.Random(1))
    assert len(kept.found) == FOUND_MAX
    assert set(kept.found) < set(MANY)
    assert replace(kept, found=()) == KeptEntries()
