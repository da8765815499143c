"""Visits: one number of equal boxes at times of their own, whatever is due; nothing is lost."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from publish_making import BASE, LONG, NAMESPACE, RELAY, Person
from tests.node.publish.way_world import Relay, World
from trio.testing import MockClock

from methrics.node.consent.ledger import grant
from methrics.node.mine.reset import burn
from methrics.node.ohttp.inner import BOX_SIZE
from methrics.node.outbox.erasures import ErasureCounts, Erasures
from methrics.node.outbox.handed import HandedBoxes
from methrics.node.outbox.periods import DAY
from methrics.node.outbox.rows import ACKNOWLEDGED, DUE, HANDED_TIME
from methrics.node.outbox.visit_times import VisitTime, VisitTimes
from methrics.node.process.worker import inline
from methrics.node.publish.handover import Handover
from methrics.node.publish.publisher import OK, PublisherSettings, run_publisher
from methrics.node.publish.results import PassResult
from methrics.node.publish.routes import Route
from methrics.node.publish.schedule import GAP, RETRY, begun, put_off, succeeded
from methrics.node.relay.visits import VISIT_ASKED, VISIT_BOXES
from methrics.node.report.erasure import sign_all


class Somebody(Person):
    """A person whose publisher visits an entry of a small world."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        grant(self.paths, NAMESPACE, ("heartbeat", "system", "module"), now=BASE)
        self.world = World(Relay(0), Relay(1), Relay(2))
        self.entry = self.world.relays[0]

    @asynccontextmanager
    async def open_route(self) -> AsyncIterator[Route]:
        yield self.world.route(app=(0,))

    async def visit(self, settings: PublisherSettings = RELAY, seed: int = 1) -> int:
        return await run_publisher(
            self.paths,
            NAMESPACE,
            settings,
            clock=self.clock,
            rng=random.Random(seed),
            open_route=self.open_route,
            worker=inline,
            on_pass=self.passes.append,
            timing=random.Random(seed).random,
        )

    @property
    def last(self) -> PassResult:
        return self.passes[-1]

    @property
    def taken(self) -> list[bytes]:
        return [raw for one in self.world.relays for raw in one.items]


@pytest.fixture
def somebody(tmp_path: Path) -> Somebody:
    return Somebody(tmp_path)


async def test_a_visit_is_made_also_if_nothing_is_due(
    autojump_clock: MockClock, somebody: Somebody
) -> None:
    somebody.record()
    assert await somebody.visit() == OK
    (request,) = somebody.entry.requests
    assert len(request.boxes) == VISIT_BOXES
    assert {len(one.box) for one in request.boxes} == {BOX_SIZE}
    assert len(set(request.asked)) == VISIT_ASKED
    assert somebody.taken == []
    assert sum(one.empties for one in somebody.world.relays) == VISIT_BOXES


async def test_no_visit_before_consent_and_none_after_it_is_gone(
    autojump_clock: MockClock, somebody: Somebody
) -> None:
    somebody.record()
    somebody.refuse("heartbeat", "system", "module")
    assert await somebody.visit() == OK
    assert (somebody.world.opened, somebody.last.visited) == ([], None)
    journal = somebody.journal
    assert VisitTimes(journal).load(somebody.clock.now()) is None
    journal.close()


async def test_the_answer_comes_at_a_later_visit(
    autojump_clock: MockClock, somebody: Somebody
) -> None:
    somebody.entry.slow = True
    somebody.record()
    await trio.sleep(LONG)
    assert await somebody.visit() == OK
    assert (somebody.last.handed, somebody.last.acknowledged) == (1, 0)
    assert somebody.states() == {DUE: 1}
    await trio.sleep(DAY / 4)
    assert await somebody.visit() == OK
    assert (somebody.last.handed, len(somebody.taken)) == (0, 1), "it does not leave again"
    somebody.entry.slow = False
    await trio.sleep(DAY / 4)
    assert await somebody.visit() == OK
    assert somebody.last.acknowledged == 1
    assert somebody.states() == {ACKNOWLEDGED: 1}
    journal = somebody.journal
    kept = HandedBoxes(journal).all(somebody.clock.now())
    assert all(one.key_index == 0 and one.kind == "" for one in kept)
    journal.close()


async def test_without_an_answer_it_goes_to_another_exit(
    autojump_clock: MockClock, somebody: Somebody
) -> None:
    somebody.record()
    await trio.sleep(LONG)
    somebody.entry.slow = True
    await somebody.visit()
    somebody.entry.answers.clear()
    await trio.sleep(HANDED_TIME)
    somebody.entry.slow = False
    await somebody.visit()
    assert somebody.last.acknowledged == 1
    assert [len(one.items) for one in somebody.world.relays] == [0, 1, 1]


async def test_kill_between_storing_and_the_answer_loses_and_doubles_nothing(
    autojump_clock: MockClock, somebody: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        """Stands for the end of the process."""

    def killed(_self: Handover, _reply: object) -> None:
        raise KilledError

    somebody.record()
    await trio.sleep(LONG)
    with monkeypatch.context() as patch, pytest.raises(BaseExceptionGroup):
        patch.setattr(Handover, "_hear", killed)
        await somebody.visit()
    assert len(somebody.taken) == 1
    somebody.entry.slow = True
    await somebody.visit()
    assert len(somebody.taken) == 1, "it waits for its answer"
    somebody.entry.slow = False
    await trio.sleep(HANDED_TIME)
    await somebody.visit()
    assert somebody.states() == {ACKNOWLEDGED: 1}
    assert len(set(somebody.taken)) == 1


async def test_an_entry_that_takes_no_boxes_is_left_alone_and_nothing_is_handed(
    autojump_clock: MockClock, somebody: Somebody
) -> None:
    somebody.entry.refuses = 7200
    somebody.record()
    await trio.sleep(LONG)
    await somebody.visit()
    assert (somebody.last.visited, somebody.last.postponed["entry-full"]) == (False, 1)
    journal = somebody.journal
    assert HandedBoxes(journal).all(somebody.clock.now()) == []
    stored = VisitTimes(journal).load(somebody.clock.now())
    assert stored is not None
    assert stored.next >= somebody.clock.now() + 7200 - 60
    journal.close()
    assert somebody.world.memory.kept.drawn[0].silent == 0, "a full entry is not silent"


async def test_attack_an_entry_that_never_brings_answers_counts_as_silent(
    autojump_clock: MockClock, somebody: Somebody
) -> None:
    somebody.entry.slow = True
    somebody.record()
    for visit in range(12):
        await somebody.visit(seed=visit)
        somebody.entry.answers.clear()
        await trio.sleep(DAY / 3)
    assert somebody.world.memory.kept.drawn[0].silent > 0


async def test_the_times_of_visits_do_not_depend_on_what_is_due(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    times: list[list[float]] = []
    for count in (1, 5):
        somebody = Somebody(tmp_path / str(count))
        seen: list[float] = []
        somebody.world.before_forwarding = lambda seen=seen: seen.append(trio.current_time())  # type: ignore[misc]
        began = trio.current_time()
        somebody.record()
        for number in range(count - 1):
            somebody.record("system", os="linux", uptime=number)
            somebody.record("module", module="muc")
        settings = PublisherSettings(entry=RELAY.entry, idle=LONG)
        await somebody.visit()
        with trio.move_on_after(4 * DAY):
            await somebody.visit(settings)
        times.append([round(one - began) for one in seen[::VISIT_BOXES]])
    assert len(times[0]) > 8
    assert [one // 60 for one in times[0]] == [one // 60 for one in times[1]]


async def test_a_handed_report_is_erased_through_the_network(
    autojump_clock: MockClock, somebody: Somebody
) -> None:
    somebody.entry.slow = True
    somebody.record()
    await trio.sleep(LONG)
    await somebody.visit()
    journal, now = somebody.journal, somebody.clock.now()
    erasures, rng = Erasures(journal), random.Random(1).random
    signed = sign_all(journal.receipts(), erasures.seed_of, now=now, window=0, rng=rng)
    assert erasures.request(signed, now) == ErasureCounts(journaled=1)
    somebody.entry.slow = False
    await somebody.visit()
    assert [one.state for one in erasures.all().values()] == [ACKNOWLEDGED]
    assert len(somebody.taken) == 2
    burn(journal)
    assert HandedBoxes(journal).all(now) == []
    journal.close()


def test_a_visit_that_failed_is_repeated_after_a_while_and_a_stored_time_is_bounded() -> None:
    rng = random.Random(3).random
    first = begun(None, BASE, rng)
    assert BASE + RETRY.least / 2 <= first.next <= BASE + RETRY.least
    later = first
    for _ in range(20):
        later = begun(later, BASE, rng)
    assert BASE + RETRY.most / 2 <= later.next <= BASE + RETRY.most
    gaps = [succeeded(BASE, GAP, rng).next - BASE for _ in range(500)]
    assert GAP[0] <= min(gaps) < GAP[0] + 900
    assert GAP[1] - 900 < max(gaps) <= GAP[1]
    assert put_off(VisitTime(BASE + 5, 2), BASE, 60) == VisitTime(BASE + 60, 2)
