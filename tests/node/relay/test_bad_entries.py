"""Entries that watch the topic and choose which boxes reach an exit, and when."""

from __future__ import annotations

import random

import pytest
import trio
from tests.node.door_making import Doors, read, stations, straight
from tests.node.relay_making import BASE, report
from trio.testing import MockClock

from methrics.node.relay.mixer import MixLimits
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.verdict import Reason

RESTS = MixLimits(batch_window=30, rest=DAY)
PEOPLE = 40
NEXT_DAY = DAY - BASE % DAY
"""Seconds from the start of the simulated clock to midnight (UTC)."""


async def bring(lab: Doors, *items: bytes, origin: bytes = b"bad") -> list[Reason]:
    """Hand the boxes of these items to the exit, as an entry does; return the answers, which only
    the apps could read."""
    (exit_,) = lab.stations
    sealed = [exit_.seal(item) for item in items]
    async with lab.network.open_swarm(listen=False, origin=origin) as entry:
        reply = await straight(entry, exit_, *(one.box for one in sealed))
    return [read(one, raw).reason for one, raw in zip(sealed, reply.answers, strict=True)]


def in_order(lab: Doors) -> list[bytes]:
    """What was published, in the order in which an observer of the topic got it."""
    return sorted(lab.published, key=lambda one: lab.published[one])


@pytest.mark.shows("NEW-6")
@pytest.mark.parametrize(
    ("mix", "least", "most"),
    [(RESTS, 0, 4), (MixLimits(batch_window=30, rest=0), PEOPLE, PEOPLE)],
    ids=["with a rest", "without, all are found"],
)
async def test_attack_an_entry_delays_each_box_and_releases_it_alone(
    autojump_clock: MockClock, mix: MixLimits, least: int, most: int
) -> None:
    """It hands over one person's box every ten minutes, and takes the next report on the topic for
    theirs. With a rest it is right about once among forty people, as by chance."""
    people = [report(number) for number in range(PEOPLE)]
    async with stations(1, mix=mix) as lab:
        await trio.sleep(NEXT_DAY + 3600)
        for one in people:
            assert await bring(lab, one) == [Reason.OK]
            await trio.sleep(600)
        await trio.sleep(2 * DAY)
        seen = in_order(lab)
        assert sorted(seen) == sorted(people)
        right = sum(guess == one for guess, one in zip(seen, people, strict=True))
        assert least <= right <= most


async def test_attack_an_entry_keeps_one_persons_box_for_days(autojump_clock: MockClock) -> None:
    """The box appears a day after it reached the exit, in the crowd of that day: those that others
    brought. The entry learns that it is one of them, and not which."""
    crowd = [report(number) for number in range(1, 13)]
    async with stations(1, mix=RESTS) as lab:
        await trio.sleep(3 * DAY + NEXT_DAY)
        assert await bring(lab, *crowd, origin=b"honest") == [Reason.OK] * len(crowd)
        assert await bring(lab, report(0)) == [Reason.OK]
        before = trio.current_time()
        await trio.sleep(2 * DAY)
        assert set(lab.collected) == {report(0), *crowd}
        assert min(lab.published.values()) > before + DAY - 7200


async def test_attack_an_entry_replays_a_box_for_days_to_make_its_report_appear_again(
    autojump_clock: MockClock,
) -> None:
    async with stations(1, mix=RESTS) as lab:
        (exit_,) = lab.stations
        box = exit_.seal(report(1)).box
        for _ in range(8):
            async with lab.network.open_swarm(listen=False, origin=b"bad") as entry:
                (answer,) = (await straight(entry, exit_, box)).answers
            assert len(answer) == 176, "it looks the same each time"
            await trio.sleep(DAY / 4)
        await trio.sleep(2 * DAY)
        assert lab.collected == [report(1)]


async def test_attack_an_entry_drops_one_persons_boxes_and_misses_nothing_on_the_topic(
    autojump_clock: MockClock,
) -> None:
    """It knows that somebody's report is missing, and cannot tell what it would have been: the box
    is all that it has, and the report comes by another way."""
    async with stations(1, mix=RESTS) as lab:
        (exit_,) = lab.stations
        dropped = exit_.seal(report(0)).box
        assert await bring(lab, report(1), report(2)) == [Reason.OK] * 2
        assert await bring(lab, report(0), origin=b"another entry") == [Reason.OK]
        await trio.sleep(3 * DAY)
        assert sorted(lab.collected) == sorted(map(report, range(3)))
        assert all(part not in dropped for part in _parts(report(0)))


def _parts(item: bytes) -> list[bytes]:
    return [item[at : at + 8] for at in range(0, len(item) - 8, 8)]


@pytest.mark.parametrize("others", [0, 5])
async def test_attack_n_minus_1_flooding_of_an_exit(autojump_clock: MockClock, others: int) -> None:
    """An entry fills an exit with reports of its own, and lets one person's box in among them. What
    it did not sign itself is that person's, and of all whose boxes came by other entries: nothing
    else hides the one. The flood makes nothing leave early."""
    own = [report(1000 + number) for number in range(300)]
    honest = [report(100 + number) for number in range(others)]
    rng = random.Random(others)
    async with stations(1, mix=RESTS) as lab:
        await trio.sleep(NEXT_DAY)
        if honest:
            assert await bring(lab, *honest, origin=b"honest") == [Reason.OK] * others
        together = [report(0), *own]
        rng.shuffle(together)
        for at in range(0, len(together), 60):
            assert set(await bring(lab, *together[at : at + 60])) == {Reason.OK}
        await trio.sleep(DAY - 600)
        assert lab.collected == []
        await trio.sleep(DAY + 1200)
        assert set(lab.collected) - set(own) == {report(0), *honest}


async def test_attack_an_entry_tags_one_persons_box_and_watches_what_is_missing(
    autojump_clock: MockClock,
) -> None:
    """A changed byte is no mark: the box does not open, and the report is not published, which an
    observer cannot tell from one that never was."""
    async with stations(1, mix=RESTS) as lab:
        (exit_,) = lab.stations
        box = exit_.seal(report(0)).box
        tagged = box[:700] + bytes([box[700] ^ 1]) + box[701:]
        async with lab.network.open_swarm(listen=False, origin=b"bad") as entry:
            assert (await straight(entry, exit_, tagged)).answers == (b"",)
        assert await bring(lab, report(1)) == [Reason.OK]
        await trio.sleep(3 * DAY)
        assert lab.collected == [report(1)]
