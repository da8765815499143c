"""Whom to ask next, and what a network may ask for."""

from __future__ import annotations

from random import Random

from methrics.aggregate.closing.budget import KNOWN_MAX
from methrics.aggregate.reconcile.budget import BYTES, ROWS, session_budget
from methrics.aggregate.reconcile.pacing import Pacing, PacingSettings

SETTINGS = PacingSettings(soon=2.0, every=180.0)


def pacing() -> Pacing:
    return Pacing(Random(1).random, SETTINGS)


def test_a_peer_is_asked_soon_after_it_connected() -> None:
    made = pacing()
    assert made.next([], ["a"], 0.0) is None
    assert made.next([], ["a"], 2.5) == "a"


def test_a_peer_with_nothing_new_is_asked_after_minutes() -> None:
    made = pacing()
    made.next([], ["a"], 0.0)
    made.went("a", 10.0, brought=False)
    assert made.next([], ["a"], 10.0 + 180 * 0.74) is None
    assert made.next([], ["a"], 10.0 + 180 * 1.25) == "a"


def test_after_news_all_peers_are_asked_soon() -> None:
    made = pacing()
    made.next([], ["a", "b"], 0.0)
    made.went("b", 10.0, brought=False)
    made.went("a", 10.0, brought=True)
    found = {made.next([], ["a", "b"], 12.5)}
    made.went(found.copy().pop() or "", 12.5, brought=False)
    found.add(made.next([], ["a", "b"], 12.5))
    assert found == {"a", "b"}


def test_a_peer_whose_set_has_changed_is_asked_soon() -> None:
    made = pacing()
    made.next([], ["a", "b"], 0.0)
    for peer in "ab":
        made.went(peer, 0.0, brought=False)
    made.hurry(1.0, "b")
    assert made.next([], ["a", "b"], 4.0) == "b"
    made.went("b", 4.0, brought=False)
    assert made.next([], ["a", "b"], 4.0) is None


def test_own_peers_come_before_strangers_who_were_due_earlier() -> None:
    made = pacing()
    made.next(["own"], ["stranger", "own"], 0.0)
    assert made.next(["own"], ["stranger", "own"], 5.0) == "own"
    made.went("own", 5.0, brought=False)
    assert made.next(["own"], ["stranger", "own"], 5.0) == "stranger"


def test_a_peer_that_fails_is_asked_ever_more_seldom() -> None:
    made, now, pauses = pacing(), 0.0, []
    made.next([], ["a"], now)
    for _ in range(8):
        made.failed("a", now)
        before = now
        while made.next([], ["a"], now) is None:
            now += 10
        pauses.append(now - before)
    assert pauses[0] >= 90
    assert 1800 <= pauses[-1] <= 3610


def test_after_an_overflow_peers_that_answered_are_asked_soon() -> None:
    made = pacing()
    made.next([], ["a", "b"], 0.0)
    made.went("a", 0.0, brought=False)
    made.failed("b", 0.0)
    made.hurry(10.0)
    assert made.next([], ["a", "b"], 13.0) == "a"
    made.went("a", 13.0, brought=False)
    assert made.next([], ["a", "b"], 20.0) is None


def test_a_busy_peer_is_asked_when_it_said() -> None:
    made = pacing()
    made.next([], ["a"], 0.0)
    made.wait("a", 100, 0.0)
    assert made.next([], ["a"], 70.0) is None
    assert made.next([], ["a"], 130.0) == "a"


def test_a_network_that_asked_for_much_has_to_wait() -> None:
    budget = session_budget()
    assert budget.wait(b"n", 0.0) == 0
    budget.spend(b"n", 10, int(BYTES.burst + 4 * BYTES.rate), 0.0)
    assert budget.wait(b"n", 0.0) == 4
    assert budget.wait(b"other", 0.0) == 0
    assert budget.wait(b"n", 4.0) == 0
    budget.spend(b"rows", int(2 * ROWS.burst), 0, 0.0)
    assert budget.wait(b"rows", 0.0) > 0


def test_a_peer_that_the_operator_named_gets_more() -> None:
    budget = session_budget()
    for name, listed in ((b"own", True), (b"stranger", False)):
        budget.spend(name, 0, int(2 * BYTES.burst), 0.0, listed=listed)
    assert budget.wait(b"own", 0.0, listed=True) == 0
    assert budget.wait(b"stranger", 0.0) > 0


def test_attack_many_networks_take_no_memory() -> None:
    budget = session_budget()
    for i in range(3 * KNOWN_MAX):
        budget.spend(i.to_bytes(4, "big"), 1, 1, 0.0)
    assert len(budget) == KNOWN_MAX
