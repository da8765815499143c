"""A clock that was wrong for a while, or is wrong now: nothing falls silent and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from publish_making import BASE, LONG, NAMESPACE, Person, Wire
from row_making import Rows
from trio.testing import MockClock

from methrics.node.clock import ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.outbox.erasures import Erasures, SignedErasure
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import DAY, week_start
from methrics.node.outbox.rows import (
    CLOCK_SLACK,
    ERASURE_MAX,
    PACE_MAX,
    POSTPONED_MAX,
    Pace,
    Receipt,
)
from methrics.node.report.prepare import credible

NOW = 1_800_000_000


def receipt(index: int, *, time: int = NOW, due: int = NOW) -> Receipt:
    return Receipt(
        key_index=index,
        salt=bytes(16),
        id=bytes([index]) * 32,
        raw=b"raw%d" % index,
        catalog=1,
        type="visit",
        time=time,
        made=time,
        due=due,
        route="relay",
    )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "outbox.db"), clock=ManualClock(NOW))


def put(journal: Journal, *made: Receipt, paces: tuple[Pace, ...] = ()) -> None:
    journal.journal(made, [], paces, token=journal.pending(0).token)


def row(journal: Journal, due: int) -> None:
    Rows(journal).event(1, "visit", NOW - DAY, due, b"\xa0")


@pytest.mark.parametrize("ahead", [2 * DAY, 30 * DAY, 400 * DAY, 40_000 * DAY])
def test_a_pace_that_was_drawn_while_the_clock_was_ahead_holds_nothing_up(
    journal: Journal, ahead: int
) -> None:
    row(journal, NOW - 60)
    put(journal, paces=(Pace(type="visit", last=NOW + ahead, next=NOW + ahead + DAY),))
    assert len(journal.pending(NOW).rows) == 1
    assert journal.next_due() == NOW - 60
    assert credible(journal.paces()["visit"], NOW).next == 0


def test_a_pace_of_a_right_clock_is_kept(journal: Journal) -> None:
    row(journal, NOW - 60)
    put(journal, paces=(Pace(type="visit", last=NOW - 60, next=NOW + 300 * DAY),))
    assert journal.pending(NOW).rows == []
    assert journal.next_due() == NOW + 300 * DAY


@given(st.integers(0, 2 * NOW), st.integers(0, 2 * NOW))
def test_a_repaired_pace_is_within_a_schedule(last: int, then: int) -> None:
    repaired = credible(Pace(type="visit", last=last, next=then), NOW)
    assert repaired.next in (0, then)
    assert repaired.next <= NOW + PACE_MAX
    if last <= NOW + CLOCK_SLACK and then <= NOW + PACE_MAX:
        assert (repaired.last, repaired.next) == (last, then)


def test_a_report_that_was_postponed_while_the_clock_was_ahead_is_due(journal: Journal) -> None:
    put(journal, receipt(0, due=NOW + 400 * DAY), receipt(1, due=NOW + POSTPONED_MAX))
    assert [one.key_index for one in journal.due(NOW)] == [0]
    assert journal.next_due() == NOW
    assert receipt(0, due=NOW + 400 * DAY).due_at(NOW) == NOW


def test_a_report_of_a_time_to_come_waits_and_wakes_no_publisher(journal: Journal) -> None:
    later = NOW + 400 * DAY
    put(journal, receipt(0, time=later, due=later))
    assert journal.due(NOW) == []
    assert journal.next_due() == later
    assert [one.key_index for one in journal.due(later)] == [0]


@pytest.mark.parametrize(
    ("made", "due", "leaves"),
    [
        (NOW, NOW + ERASURE_MAX, False),
        (NOW, NOW + ERASURE_MAX + 1, True),
        (NOW + 100 * DAY, NOW + 101 * DAY, True),
    ],
)
def test_an_erasure_does_not_wait_for_a_time_of_a_wrong_clock(
    journal: Journal, made: int, due: int, leaves: bool
) -> None:
    put(journal, receipt(0))
    journal.attempt([0])
    erasures = Erasures(journal)
    erasures.request([SignedErasure(key_index=0, raw=b"raw", due=due)], made)
    assert len(erasures.due(NOW, {"relay"})) == leaves
    assert journal.next_due() == (0 if leaves else due)


def test_a_week_of_installation_of_a_clock_that_was_ahead_is_repaired(journal: Journal) -> None:
    assert journal.identity(NOW + 400 * DAY).install_week == week_start(NOW + 400 * DAY)
    first = journal.identity(0)
    assert first.install_week == week_start(NOW + 400 * DAY), "a clock of 1970 repairs nothing"
    repaired = journal.identity(NOW)
    assert (repaired.install_week, repaired.seed) == (week_start(NOW), first.seed)
    assert journal.identity(NOW + 400 * DAY).install_week == week_start(NOW)
    assert journal.identity(NOW - 21 * DAY).install_week == week_start(NOW), "an old row is normal"


async def test_no_report_is_made_while_the_clock_stands_before_this_software(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    person, wire = Person(tmp_path), Wire()
    grant(person.paths, NAMESPACE, ("heartbeat",), now=BASE)
    person.clock.shift = -BASE
    person.record()
    await trio.sleep(LONG)
    await person.publish(wire)
    assert (wire.opened, person.states()) == (0, {})
    person.clock.shift = 0
    person.record()
    await trio.sleep(LONG)
    await person.publish(wire)
    assert len(wire.sent) == 1
