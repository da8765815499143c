"""What protects the one honest report from an entry, or a flood, that tries to recognise it."""

from __future__ import annotations

import trio
from tests.node.door_making import stations, straight
from tests.node.relay_making import BASE, report
from trio.testing import MockClock

from methrics.node.relay.mixer import MixLimits

PERIOD = 600
RESTING = MixLimits(batch_window=5, rest=PERIOD)


async def test_attack_an_entry_holds_the_boxes_of_one_app_back_and_finds_no_late_bundle(
    autojump_clock: MockClock,
) -> None:
    """What comes later leaves at a random moment of the same next period as all the rest."""
    async with (
        stations(1, mix=RESTING) as lab,
        lab.network.open_swarm(listen=False) as entry,
    ):
        exit_ = lab.stations[0]
        await trio.sleep(PERIOD - (BASE + trio.current_time()) % PERIOD + 1)
        others = [report(number) for number in range(1, 65)]
        await straight(entry, exit_, *(exit_.seal(one).box for one in others))
        began = trio.current_time()
        await trio.sleep(PERIOD / 4)
        held = [report(number) for number in range(1000, 1032)]
        await straight(entry, exit_, *(exit_.seal(one).box for one in held))
        await lab.wait_for(*held, *others)
        first = [lab.published[one] for one in others]
        second = [lab.published[one] for one in held]
        end = began + 2 * PERIOD + 10
        assert began + PERIOD - 10 < min(first) < max(second)
        assert began + PERIOD - 10 < min(second) < max(first)
        assert max(first + second) < end


async def test_attack_flooding_an_exit_does_not_flush_the_one_honest_report(
    autojump_clock: MockClock,
) -> None:
    """The n-1 attack: however many items an attacker adds, none leaves sooner for that."""
    async with stations(1, mix=RESTING) as lab:
        exit_ = lab.stations[0]
        async with (
            lab.network.open_swarm(listen=False, origin=b"honest") as entry,
            lab.network.open_swarm(listen=False, origin=b"attacker") as attacker,
        ):
            await straight(entry, exit_, exit_.seal(report(1)).box)
            began = trio.current_time()
            for number in range(5):
                flood = [exit_.seal(report(100 + 64 * number + i)).box for i in range(64)]
                await straight(attacker, exit_, *flood)
            flooded = trio.current_time()
        await lab.wait_for(report(1))
        next_period = began + PERIOD - (BASE + began) % PERIOD
        assert flooded < next_period
        assert min(lab.published.values()) >= next_period - 1
