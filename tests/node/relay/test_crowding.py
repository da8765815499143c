"""Strangers who crowd a relay get their share and no more, and change nothing for what rests."""

from __future__ import annotations

import trio
import trio.testing
from relay_making import BASE, Handed, Scene, hand_over, report, scene

from methrics.node.relay.intake import AGAIN_LEAST, AGAIN_MOST
from methrics.node.relay.mixer import ITEM_COST, MixLimits
from methrics.schema.wire.verdict import Reason

DAY = 86_400
POOL = 512 * 1024
SMALL = MixLimits(bytes_max=POOL)
PEERS = 166
"""As many as collapsed a day of rest when a full pool emptied its windows early."""

HONEST = [report(number) for number in range(6)]


async def submitted(relay: Scene, *items: bytes, origin: bytes, peer: int = 0) -> Handed:
    """From a new peer id of a network."""
    async with relay.network.open_swarm(listen=False, origin=origin) as app:
        return await hand_over(app, relay, *items)


async def crowd(relay: Scene, *, networks: int, each: int = 12) -> list[Reason]:
    """166 new peers submit reports of their own; return all answers."""
    answers: list[Reason] = []
    for number in range(PEERS):
        reports = [report(1000 + number * each + more) for more in range(each)]
        reply = await submitted(relay, *reports, origin=b"crowd %d" % (number % networks))
        answers += reply.answers
    return answers


async def midnight() -> float:
    """Sleep until the next midnight of the relay's clock; return the simulated time."""
    await trio.sleep(DAY - (BASE + trio.current_time()) % DAY)
    return trio.current_time()


async def released(relay: Scene, began: float) -> list[int]:
    """Seconds from the beginning to the publication of each honest report, once all are out."""
    await trio.sleep_until(began + 2 * DAY + 60)
    return [int(relay.times[one] - began) for one in HONEST]


async def undisturbed() -> list[int]:
    """When the honest reports are published if there are no others."""
    began = await midnight()
    async with scene(mix=SMALL) as relay:
        assert (await submitted(relay, *HONEST, origin=b"home")).answers == (Reason.OK,) * 6
        return await released(relay, began)


async def test_attack_a_crowd_does_not_change_when_resting_reports_leave(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """166 new peer ids from as many networks fill the whole pool, behind six honest reports."""
    expected = await undisturbed()
    assert min(expected) > DAY, "they rest for a day"
    began = await midnight()
    async with scene(mix=SMALL) as relay:
        assert (await submitted(relay, *HONEST, origin=b"home")).answers == (Reason.OK,) * 6
        answers = await crowd(relay, networks=PEERS)
        assert answers.count(Reason.QUOTA) > PEERS
        assert relay.relay.mixer.bytes_used <= POOL
        assert await released(relay, began) == expected


async def test_attack_fresh_peers_of_one_network_get_one_share(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(mix=SMALL) as relay:
        answers = await crowd(relay, networks=1)
        share = POOL // 8 // (len(report(1000)) + ITEM_COST)
        assert answers.count(Reason.OK) == share
        assert answers.count(Reason.QUOTA) == len(answers) - share
        assert (await submitted(relay, *HONEST, origin=b"home")).answers == (Reason.OK,) * 6


async def test_attack_who_fills_their_own_share_is_told_when_to_come_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await midnight()
    async with scene(mix=SMALL) as relay:
        await crowd(relay, networks=1)
        reply = await submitted(relay, report(1), origin=b"crowd 0")
        assert reply.answers == (Reason.QUOTA,)
        assert reply.again is not None
        assert AGAIN_LEAST <= reply.again <= AGAIN_MOST * 1.25
        assert (await submitted(relay, report(2), origin=b"home")).again is None
        await trio.sleep(2 * DAY + 7200)
        reply = await submitted(relay, report(1), origin=b"crowd 0")
        assert (reply.answers, reply.again) == ((Reason.OK,), None)


async def test_attack_a_listed_entry_has_room_when_strangers_fill_the_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The entry relay comes from the same network as the crowd."""
    async with (
        scene(mix=SMALL, entries=("memory0003",)) as relay,
        relay.network.open_swarm(listen=False, origin=b"crowd 0") as entry,
    ):
        assert entry.peer_id == "memory0003"
        answers = await crowd(relay, networks=PEERS)
        assert answers.count(Reason.OK) <= POOL // 2 // (len(report(1000)) + ITEM_COST)
        reply = await submitted(relay, report(1), origin=b"home")
        assert reply.answers == (Reason.QUOTA,)
        reply = await hand_over(entry, relay, *HONEST)
        assert reply.answers == (Reason.OK,) * 6


async def test_a_network_that_brings_too_much_is_told_to_wait_for_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(boxes_per_minute=10) as relay:
        reports = [report(number) for number in range(15)]
        reply = await submitted(relay, *reports[:10], origin=b"home")
        assert reply.answers == (Reason.OK,) * 10
        reply = await submitted(relay, *reports[10:], origin=b"home")
        assert (reply.answers, reply.again) == ((Reason.QUOTA,) * 5, 30)
        assert (await submitted(relay, report(99), origin=b"other")).answers == (Reason.OK,)
        await trio.sleep(30)
        reply = await submitted(relay, *reports[10:], origin=b"home")
        assert (reply.answers, reply.again) == ((Reason.OK,) * 5, None)
