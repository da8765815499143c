"""The entry: brings boxes to exits, keeps nothing, and reaches nothing else."""

from __future__ import annotations

import gc
import logging
import random

import pytest
import trio
from tests.node.door_making import (
    Doors,
    Station,
    read,
    stations,
    straight,
    through,
)
from tests.node.relay_making import TOPIC, report
from trio.testing import MockClock

from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.network.swarm import PeerId
from methrics.node.relay import doors
from methrics.node.relay.doors import DoorReply
from methrics.node.relay.entry import Entry, EntryLimits
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.pool_shares import Submitter
from methrics.schema.errors import UnreachableError
from methrics.schema.wire.verdict import Reason

LIMITS = EntryLimits()


def entry_of(station: Station) -> Entry:
    found = station.relay.doors.entry
    assert found is not None
    return found


async def send(lab: Doors, way: tuple[int, int], *items: bytes) -> list[Reason]:
    """As an app does: a swarm of its own, one request. `way`: entry and exit."""
    entry, exit_ = lab.stations[way[0]], lab.stations[way[1]]
    sealed = [exit_.seal(item) for item in items]
    async with lab.network.open_swarm(listen=False) as app:
        reply = await through(app, entry, exit_.key, *(one.box for one in sealed))
    return [read(one, raw).reason for one, raw in zip(sealed, reply.answers, strict=True)]


async def test_a_report_goes_through_an_entry_and_an_exit_to_the_collector(
    autojump_clock: MockClock,
) -> None:
    async with stations(4) as lab:
        assert await send(lab, (0, 2), report(1), b"", report(1)) == ["ok", "ok", "duplicate"]
        assert await send(lab, (1, 3), report(2)) == ["ok"]
        await lab.wait_for(report(1), report(2))
        assert sorted(lab.collected) == sorted([report(1), report(2)])


@pytest.mark.shows("MARS-2")
async def test_the_exit_sees_the_entry_and_no_peer_of_an_app(autojump_clock: MockClock) -> None:
    async with stations(4) as lab:
        for number in range(8):
            await send(lab, (number % 2, 2 + number // 4), report(number), b"")
        entries = {one.swarm.peer_id for one in lab.stations[:2]}
        assert {peer for one in lab.stations for peer in one.told} == entries


@pytest.mark.shows("NEW-6")
async def test_the_entry_sees_no_content_keeps_nothing_and_says_nothing(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with stations(3) as lab:
        entry, exit_ = lab.stations[0], lab.stations[2]
        seen: list[bytes] = []
        _overhear(entry.swarm, seen)
        item = report(4242)
        sealed = exit_.seal(item)
        async with lab.network.open_swarm(listen=False) as app:
            reply = await through(app, entry, exit_.key, sealed.box)
            name = app.peer_id
        assert read(sealed, reply.answers[0]).reason is Reason.OK
        seen += exit_.requests
        assert len(seen) == 3  # from the app, to the exit, and the answer
        for part in (item[i : i + 16] for i in range(0, len(item) - 16, 16)):
            assert not any(part in one for one in seen)
        held = _reachable_bytes(entry_of(entry))
        assert sealed.box not in held
        assert reply.answers[0] not in held
        assert name not in {str(one) for one in held}
        assert name not in caplog.text
        assert not [one for one in caplog.records if one.name.startswith("methrics")]


def _overhear(swarm: MemorySwarm, seen: list[bytes]) -> None:
    handler, request_max = swarm._handlers[doors.ENTRY]

    async def noted(peer: PeerId, body: bytes) -> bytes:
        reply = await handler(peer, body)
        seen.extend((body, reply))
        return reply

    swarm._handlers[doors.ENTRY] = (noted, request_max)


def _reachable_bytes(entry: Entry) -> set[bytes | str]:
    """Return all byte strings and texts in the memory of an entry."""
    apart = (entry._swarm, entry._exits, entry._serve)
    todo: list[object] = [value for value in vars(entry).values() if value not in apart]
    known: set[int] = set()
    found: set[bytes | str] = set()
    while todo:
        one = todo.pop()
        if id(one) in known or isinstance(one, type):
            continue
        known.add(id(one))
        if isinstance(one, bytes | str):
            found.add(one)
        elif (not callable(one) and type(one).__module__ != "builtins") or isinstance(
            one, list | dict | tuple | set
        ):
            todo += gc.get_referents(one)
    return found


async def test_boxes_of_many_apps_travel_in_one_request_and_each_gets_its_own_answers(
    autojump_clock: MockClock,
) -> None:
    async with stations(2) as lab:
        entry, exit_ = lab.stations
        told: dict[int, list[Reason]] = {}

        async def one_app(number: int) -> None:
            items = [report(number), b"", b"\x01"][: 1 + number % 3]
            told[number] = await send(lab, (0, 1), *items)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one_app, number)
        for number, reasons in told.items():
            assert reasons == [Reason.OK, Reason.OK, Reason.MALFORMED][: 1 + number % 3]
        assert len(exit_.requests) == 1
        assert len(doors.decode_exit_request(exit_.requests[0])) == 39
        assert entry_of(entry).forwarded == 39


async def test_the_order_of_boxes_in_a_request_to_the_exit_tells_nothing(
    autojump_clock: MockClock,
) -> None:
    async with stations(2) as lab:
        entry, exit_ = lab.stations
        boxes = [exit_.seal().box for _ in range(40)]
        async with lab.network.open_swarm(listen=False) as app:
            await through(app, entry, exit_.key, *boxes)
        arrived = list(doors.decode_exit_request(exit_.requests[0]))
        assert arrived != boxes
        assert sorted(arrived) == sorted(boxes)


async def test_more_boxes_than_fit_a_request_go_in_several(autojump_clock: MockClock) -> None:
    async with stations(2) as lab:
        exit_ = lab.stations[1]
        async with trio.open_nursery() as nursery:
            for number in range(5):
                items = [report(100 * number + one) for one in range(40)]
                nursery.start_soon(send, lab, (0, 1), *items)
        assert [len(doors.decode_exit_request(one)) for one in exit_.requests] == [40] * 5


async def test_an_entry_that_is_the_exit_serves_the_boxes_itself(autojump_clock: MockClock) -> None:
    async with stations(1) as lab:
        assert await send(lab, (0, 0), report(1)) == [Reason.OK]
        assert not lab.stations[0].requests
        await lab.wait_for(report(1))


async def test_an_exit_that_dies_gives_no_answer_and_the_second_way_works(
    autojump_clock: MockClock,
) -> None:
    async with stations(4) as lab, lab.network.open_swarm(listen=False) as app:
        entry, other, dead, alive = lab.stations
        assert await send(lab, (0, 2), report(1)) == [Reason.OK]
        del lab.directory[other.key]
        dead.die()
        await trio.testing.wait_all_tasks_blocked()
        reply = await through(app, entry, dead.key, dead.seal(report(2)).box)
        assert not reply.answers
        assert reply.again is not None
        assert LIMITS.again <= reply.again <= LIMITS.again * 2
        sealed = alive.seal(report(2))
        second = await through(app, other, alive.key, sealed.box)
        assert read(sealed, second.answers[0]).reason is Reason.OK
        await lab.wait_for(report(2))


async def test_an_exit_that_dies_while_it_answers_gives_no_answer(
    autojump_clock: MockClock,
) -> None:
    async with stations(3) as lab, lab.network.open_swarm(listen=False) as app:
        entry, dead, alive = lab.stations
        arrived = trio.Event()

        async def hang(peer: PeerId, body: bytes) -> bytes:
            arrived.set()
            await trio.sleep_forever()

        dead.swarm._handlers[doors.EXIT] = (hang, doors.EXIT_REQUEST_MAX)
        replies: list[DoorReply] = []

        async def ask() -> None:
            replies.append(await through(app, entry, dead.key, dead.seal(report(1)).box))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await arrived.wait()
            dead.die()
        assert replies[0].answers == ()
        assert entry_of(entry).failed == 1
        assert entry_of(entry)._room.used == 0
        assert await send(lab, (0, 2), report(1)) == [Reason.OK]
        assert alive.told


async def test_an_exit_that_is_not_known_is_not_asked(autojump_clock: MockClock) -> None:
    async with stations(2) as lab, lab.network.open_swarm(listen=False) as app:
        entry, exit_ = lab.stations
        addrs = lab.directory.pop(exit_.key)
        reply = await through(app, entry, exit_.key, exit_.seal(report(1)).box)
        assert not reply.answers
        assert not exit_.told
        lab.directory[exit_.key] = addrs
        assert await send(lab, (0, 1), report(1)) == [Reason.OK]


async def test_attack_an_entry_is_no_open_proxy(autojump_clock: MockClock) -> None:
    """It reaches nobody whom no descriptor names, no other protocol, and nothing but boxes."""
    async with (
        stations(2) as lab,
        lab.network.open_swarm() as victim,
        lab.network.open_swarm(listen=False) as app,
    ):
        entry, exit_ = lab.stations
        asked: list[bytes] = []

        async def serve(peer: PeerId, body: bytes) -> bytes:
            asked.append(body)
            return b""

        victim.serve(doors.EXIT, serve, request_max=10_000)
        box = exit_.seal().box
        for stranger in (bytes(32), b"\xff" * 32, b"v" * 32):
            assert not (await through(app, entry, stranger, box)).answers
        for odd in (b"", b"GET / HTTP/1.1\r\n\r\n", box[:-1], box + b"x", box[:55]):
            with pytest.raises(UnreachableError):
                await through(app, entry, exit_.key, odd)
        assert not asked
        assert not exit_.told
        assert entry.swarm.statistics().dials_failed == 0


async def test_attack_an_entry_is_not_made_to_dial_again_and_again(
    autojump_clock: MockClock,
) -> None:
    async with stations(2) as lab, lab.network.open_swarm(listen=False) as app:
        entry, exit_ = lab.stations
        exit_.die()
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        for _ in range(50):
            assert (await through(app, entry, exit_.key, exit_.seal().box)).again
        lasted = trio.current_time() - began
        assert entry.swarm.statistics().dials_failed <= 1 + lasted / LIMITS.pause


async def test_attack_one_network_does_not_use_up_an_entry(autojump_clock: MockClock) -> None:
    async with stations(2, boxes_per_minute=100) as lab:
        entry, exit_ = lab.stations
        for _ in range(10):
            async with lab.network.open_swarm(listen=False, origin=b"attacker") as app:
                await through(app, entry, exit_.key, *[exit_.seal().box] * 30)
        assert sum(len(doors.decode_exit_request(one)) for one in exit_.requests) == 90
        async with lab.network.open_swarm(listen=False, origin=b"attacker") as app:
            reply = await through(app, entry, exit_.key, *[exit_.seal().box] * 30)
            assert reply.again
        assert entry_of(entry).forwarded == 90


async def test_attack_boxes_that_wait_for_a_hanging_exit_are_bounded_for_one_network(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork(rng=random.Random(7))
    async with network.open_swarm() as swarm, trio.open_nursery() as nursery:
        limits = EntryLimits(waiting_bytes=80_000, per_minute=10**6)
        entry = Entry(swarm, _Hanging(), rng=random.Random(1), limits=limits)
        nursery.start_soon(entry.run)
        box = bytes(1335)

        async def ask(origin: bytes) -> None:
            assert not (await entry.forward(Submitter(b"", origin), b"e" * 32, [box])).answers

        async with trio.open_nursery() as asking:
            for _ in range(100):
                asking.start_soon(ask, b"attacker")
            await trio.testing.wait_all_tasks_blocked()
            assert 0 < entry._room.held(b"attacker") <= 10_000
            asking.start_soon(ask, b"honest")
            await trio.testing.wait_all_tasks_blocked()
            assert entry._room.held(b"honest")
        assert entry._room.used == 0
        nursery.cancel_scope.cancel()


class _Hanging:
    """An exit whose address leads nowhere."""

    def addresses(self, exit_id: bytes) -> tuple[str, ...]:
        return ("/memory/nobody/p2p/nobody",)


async def test_attack_an_entry_drops_boxes_and_the_app_gets_no_false_answer(
    autojump_clock: MockClock,
) -> None:
    async with stations(2) as lab, lab.network.open_swarm(listen=False) as app:
        entry, exit_ = lab.stations

        async def drop(peer: PeerId, body: bytes) -> bytes:
            return doors.encode_reply(DoorReply((bytes(176),)))

        entry.swarm._handlers[doors.ENTRY] = (drop, doors.ENTRY_REQUEST_MAX)
        sealed = exit_.seal(report(1))
        reply = await through(app, entry, exit_.key, sealed.box)
        with pytest.raises(Exception, match="does not open"):
            read(sealed, reply.answers[0])


async def test_attack_an_entry_swaps_the_boxes_of_apps_and_the_answers_do_not_open(
    autojump_clock: MockClock,
) -> None:
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as entry:
        exit_ = lab.stations[0]
        one, two = exit_.seal(report(1)), exit_.seal(report(2))
        answers = (await straight(entry, exit_, one.box, two.box)).answers
        assert read(one, answers[0]).reason is Reason.OK
        for sealed, answer in ((one, answers[1]), (two, answers[0])):
            with pytest.raises(Exception, match="does not open"):
                read(sealed, answer)


async def test_attack_flooding_an_exit_fills_only_the_share_of_one_network(
    autojump_clock: MockClock,
) -> None:
    tight = MixLimits(batch_window=600, rest=86_400, bytes_max=400_000)
    async with stations(1, mix=tight, topics=(TOPIC,)) as lab:
        exit_ = lab.stations[0]
        async with lab.network.open_swarm(listen=False, origin=b"attacker") as attacker:
            reasons = []
            for number in range(3):
                sealed = [exit_.seal(report(64 * number + i)) for i in range(64)]
                reply = await straight(attacker, exit_, *(one.box for one in sealed))
                reasons += [
                    read(one, raw).reason for one, raw in zip(sealed, reply.answers, strict=True)
                ]
        assert reasons[0] is Reason.OK
        assert reasons[-1] is Reason.QUOTA
        async with lab.network.open_swarm(listen=False, origin=b"honest") as entry:
            one = exit_.seal(report(10_000))
            reply = await straight(entry, exit_, one.box)
            assert read(one, reply.answers[0]).reason is Reason.OK
