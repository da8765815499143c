"""What a relay acknowledged comes out, or was erased, whatever happens to the relay meanwhile."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_making import (
    BASE,
    CATALOG,
    TODAY,
    TOPIC,
    Scene,
    hand_in,
    hand_over,
    report,
    scene,
)

from methrics.node.relay.mixer import OVERDUE, MixLimits, rest_again
from methrics.node.relay.rest_file import Changes
from methrics.node.relay.state_folder import StateFolder
from methrics.schema.errors import StoreError
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.envelope import Item, Kind, inner_hash, seal, split
from methrics.schema.wire.items import Erasure, encode_erasure
from methrics.schema.wire.verdict import Reason

DAY = 86_400
OK, DUPLICATE, ERASED, QUOTA = Reason.OK, Reason.DUPLICATE, Reason.ERASED, Reason.QUOTA
RESTS = MixLimits(batch_window=30, rest=DAY)
SOON = MixLimits(batch_window=30, rest=0)


def erasure_of(number: int) -> bytes:
    erasure = Erasure(CATALOG.id, inner_hash(split(report(number))), TODAY // DAY)
    return seal(Kind.ERASURE, encode_erasure(erasure), number.to_bytes(32, "big"))


@asynccontextmanager
async def relay_in(folder: Path, **changes: object) -> AsyncIterator[Scene]:
    """A relay with its state in `folder`. It is killed at the end, unless it was stopped."""
    with StateFolder(folder) as state:
        async with scene(state=state, **changes) as relay:  # type: ignore[arg-type]
            yield relay


async def test_a_stopped_relay_publishes_nothing_early_but_after_its_next_start(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with relay_in(tmp_path, mix=RESTS) as relay:
        assert await hand_in(relay, report(1), report(2)) == [OK, OK]
        relay.stop.set()
        await trio.sleep(60)
        assert relay.collected == []
        assert await hand_in(relay, report(3)) == [QUOTA]
    async with relay_in(tmp_path, mix=RESTS) as relay:
        assert relay.relay.pooled == 2
        assert await hand_in(relay, report(1)) == [DUPLICATE]
        await trio.sleep(DAY - BASE % DAY - 200)
        assert relay.collected == [], "they rest until the next day"
        await trio.sleep(DAY + 300)
        assert sorted(relay.collected) == sorted([report(1), report(2)])
    async with relay_in(tmp_path, mix=RESTS) as relay:
        assert relay.relay.pooled == 0


async def test_a_killed_relay_loses_nothing_that_it_acknowledged(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with relay_in(tmp_path / "relay", mix=RESTS) as relay:
        assert await hand_in(relay, *(report(number) for number in range(40))) == [OK] * 40
        shutil.copytree(tmp_path / "relay", tmp_path / "left")  # as a kill leaves it
    async with relay_in(tmp_path / "left", mix=RESTS) as relay:
        await trio.sleep(2 * DAY)
        assert Counter(relay.collected) == Counter(report(number) for number in range(40))


@pytest.mark.shows("NEW-6")
async def test_attack_what_was_due_while_a_relay_was_down_does_not_leave_together(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    reports = [report(number) for number in range(20)]
    async with relay_in(tmp_path, mix=RESTS) as relay:
        assert await hand_in(relay, *reports) == [OK] * 20
    await trio.sleep(4 * DAY)
    async with relay_in(tmp_path, mix=RESTS) as relay:
        began = trio.current_time()
        await trio.sleep(OVERDUE + 60)
        assert sorted(relay.collected) == sorted(reports)
        assert len(relay.messages) > 15
        assert max(relay.times.values()) - began > OVERDUE / 2


@given(st.integers(0, 2**33), st.integers(0, 2**33), st.sampled_from([0, 60, DAY]))
def test_a_rest_ends_at_its_moment_or_at_a_new_one(leaves: int, now: int, period: float) -> None:
    rest = rest_again(leaves, now, period, random.Random(1))
    far = leaves > now + max(2 * period, 2 * DAY)
    if leaves > now and not far:
        assert now + rest == leaves
    else:
        assert 0 <= rest <= min(period, OVERDUE)


async def test_an_erased_report_is_not_published(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with relay_in(tmp_path, mix=RESTS) as relay:
        assert await hand_in(relay, report(1), report(2)) == [OK, OK]
        assert await hand_in(relay, erasure_of(1)) == [OK]
        assert relay.relay.pooled == 2
        assert await hand_in(relay, report(1), erasure_of(1)) == [ERASED, DUPLICATE]
        assert await hand_in(relay, erasure_of(3), report(3)) == [OK, ERASED]
        assert await hand_in(relay, report(4), erasure_of(4)) == [OK, OK]
    async with relay_in(tmp_path, mix=RESTS) as relay:
        assert await hand_in(relay, report(1), report(3), report(4)) == [ERASED] * 3
        await trio.sleep(2 * DAY)
        erasures = [erasure_of(number) for number in (1, 3, 4)]
        assert sorted(relay.collected) == sorted([report(2), *erasures])
        assert await hand_in(relay, report(1)) == [ERASED]
    await trio.sleep(21 * DAY)
    async with relay_in(tmp_path, mix=RESTS) as relay:
        await trio.sleep(61)
        assert await hand_in(relay, report(1)) == [Reason.LATE]
        assert relay.relay._store.erased == {}, "nobody takes these reports any more"


async def test_an_erasure_on_the_topic_counts(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with relay_in(tmp_path, mix=RESTS) as relay, relay.network.open_swarm() as other:
        assert await hand_in(relay, report(1), report(2)) == [OK, OK]
        await other.dial(relay.swarm.addrs[0])
        await other.publish(TOPIC, pack(CATALOG.id, [erasure_of(1), erasure_of(5)]))
        await trio.sleep(3)
        assert relay.relay.pooled == 1
        assert await hand_in(relay, report(1), report(5)) == [ERASED, ERASED]
    async with relay_in(tmp_path, mix=RESTS) as relay:
        assert await hand_in(relay, report(1), report(5)) == [ERASED, ERASED]
        await trio.sleep(2 * DAY)
        assert relay.collected == [report(2)]


def full(changes: Changes) -> None:
    raise StoreError("rest-full", "the disk is full")


async def test_attack_a_full_disk_refuses_and_releases_nothing_early(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relay_in(tmp_path, mix=RESTS) as relay:
        assert await hand_in(relay, report(1)) == [OK]
        with monkeypatch.context() as patch:
            patch.setattr(relay.relay._store._file, "write", full)
            async with relay.network.open_swarm(listen=False) as app:
                reply = await hand_over(app, relay, report(2), report(2), erasure_of(1), report(1))
            assert reply.answers == (QUOTA, QUOTA, QUOTA, DUPLICATE)
            assert reply.again is not None
            await trio.sleep(600)
            assert (relay.collected, relay.relay.pooled) == ([], 1)
        assert await hand_in(relay, report(2), report(1)) == [OK, DUPLICATE]
        await trio.sleep(2 * DAY)
        assert sorted(relay.collected) == sorted([report(1), report(2)])


async def test_attack_the_moment_of_an_answer_does_not_tell_what_a_box_had(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A report, a duplicate, a refusal and an empty box are answered when the commit ends."""
    async with scene(mix=RESTS) as relay:
        assert await hand_in(relay, report(1)) == [OK]

        async def slowly(call: Callable[[], object]) -> object:
            await trio.sleep(5)
            return call()

        relay.relay._store._worker = slowly  # type: ignore[assignment]
        intake, times = relay.relay._intake, {}

        async def take(name: str, item: bytes) -> None:
            who = intake.submitter(relay.collector.peer_id, b"origin")
            began = trio.current_time()
            judged = intake.judged([item], relay.relay._clock.now())
            (answer,) = await intake.admit(judged, who)
            times[name] = (round(trio.current_time() - began, 3), answer)

        for name, item in {
            "new": report(2),
            "again": report(1),
            "wrong": report(3)[:-1] + b"?",
            "empty": b"",
        }.items():
            await take(name, item)
        assert times == {
            "new": (5, OK),
            "again": (5, DUPLICATE),
            "wrong": (5, Reason.FORGED),
            "empty": (5, OK),
        }


async def test_attack_a_copy_that_is_being_judged_is_not_a_duplicate_yet(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread notes X as seen; it may be forgotten again. A submit at that very moment must keep
    X, so at no moment is X settled before it is decided that it was passed on."""
    seen: list[bool] = []
    add = Seen.add

    def spy(self: Seen, item: Item) -> bool:
        added = add(self, item)
        seen.append(item.id in self and item.id not in relay.relay._seen._undecided)
        return added

    async with scene(collector=False) as relay, relay.network.open_swarm() as other:
        await other.dial(relay.swarm.addrs[0])
        monkeypatch.setattr(Seen, "add", spy)
        await other.publish(TOPIC, pack(CATALOG.id, [report(1)]))
        await trio.sleep(1)
        assert seen == [False]
        assert await hand_in(relay, report(1)) == [OK]


def test_an_item_that_comes_twice_at_once_does_not_become_undecided_again() -> None:
    from methrics.node.relay.seen_items import SeenItems

    items, one = SeenItems(9), split(report(1))
    assert items.add(one)
    assert not items.settled(one.id)
    items.decide([one.id])
    assert not items.add(one)
    assert items.settled(one.id)
    assert items.add_settled(split(report(2)))
    assert items.settled(split(report(2)).id)


OPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 9)),
        st.tuples(st.just("erase"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.integers(1, 2 * DAY)),
        st.tuples(st.just("stop"), st.integers(0, 2 * DAY)),
        st.tuples(st.just("kill"), st.integers(0, 2 * DAY)),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(OPS)
def test_acknowledged_reports_come_out_once_or_were_erased(ops: list[tuple[str, int]]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        trio.run(live, ops, folder, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        shutil.rmtree(folder)


async def live(ops: list[tuple[str, int]], folder: Path) -> None:
    came: Counter[bytes] = Counter()
    expected: dict[int, int] = {}
    erased: set[int] = set()
    left = [*ops, ("kill", 60), ("wait", 2 * DAY + 60)]
    while left:
        async with relay_in(folder, mix=RESTS) as relay:
            while left:
                what, number = left.pop(0)
                if what == "put" and number not in expected:
                    (answer,) = await hand_in(relay, report(number))
                    assert answer is (ERASED if number in erased else OK)
                    expected[number] = 1 if answer is OK else 0
                elif what == "erase" and number not in erased:
                    assert await hand_in(relay, erasure_of(number)) == [OK]
                    erased.add(number)
                    if number in expected and not (came + Counter(relay.collected))[report(number)]:
                        expected[number] = 0
                elif what == "wait":
                    await trio.sleep(number)
                elif what in ("stop", "kill"):
                    if what == "stop":
                        relay.stop.set()
                        await trio.sleep(10)
                    break
            came.update(relay.collected)
        await trio.sleep(number)
    for number, times in expected.items():
        assert came[report(number)] == times
    for number in erased:
        assert came[erasure_of(number)] == 1
