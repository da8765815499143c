"""A relay that lies to people: it drops, delays or doubles reports, or shows its own record."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import trio
from tests.attacks import world
from tests.attacks.peer import stranger
from tests.attacks.processes import METHRICS
from tests.attacks.scene import Scene, scene
from tests.attacks.test_attack_records import records_of
from tests.node.publish.way_world import Relay

from methrics.node.clock import Clock, ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.network.libp2p import open_swarm
from methrics.node.network.swarm import Swarm
from methrics.node.ohttp import inner
from methrics.node.outbox.periods import DAY
from methrics.node.paths import namespace_of, user_paths
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.node.relay import doors, visits
from methrics.schema.wire.descriptor import RELAYS_TOPIC, read_descriptor

NAMESPACE = namespace_of(world.CATALOG.label, world.CATALOG.short_key)
LOOPBACK = ["/ip4/127.0.0.1/tcp/0"]


class Liar(Relay):
    """An entry and exit that says that it has taken every report; `items` holds what it was given.
    It names the other relay, and brings boxes there."""

    def __init__(self, swarm: Swarm, others: Sequence[bytes], exits: Mapping[bytes, str]) -> None:
        super().__init__(1)
        self.time = world.now()
        self.topics = (world.TOPIC,)
        self.addr = swarm.addrs[0]
        self._swarm = swarm
        self._others = others
        self._exits = exits
        swarm.serve(doors.DESCRIPTORS, self._describe, request_max=0)
        swarm.serve(doors.ENTRY, self._forward, request_max=doors.ENTRY_REQUEST_MAX)
        swarm.serve(visits.VISIT, self._visit, request_max=visits.REQUEST_SIZE)

    @property
    def shown(self) -> list[bytes]:
        """The descriptors that it shows."""
        return [self.descriptor(), *self._others]

    async def _describe(self, _: str, __: bytes) -> bytes:
        return doors.encode_descriptors(doors.Descriptors(self.time, tuple(self.shown)))

    async def _forward(self, _: str, body: bytes) -> bytes:
        asked = doors.decode_entry_request(body)
        return doors.encode_reply(await self._brought(asked.exit, asked.boxes))

    async def _visit(self, _: str, body: bytes) -> bytes:
        request, answers = visits.decode_visit_request(body), dict[bytes, bytes]()
        for exit_id in {one.exit for one in request.boxes}:
            boxes = [one.box for one in request.boxes if one.exit == exit_id]
            reply = await self._brought(exit_id, boxes)
            answers |= zip(map(visits.handle_of, boxes), reply.answers, strict=True)
        told = tuple(answers.get(handle, b"") for handle in request.asked)
        return visits.encode_visit_reply(visits.VisitReply(told, self.time))

    async def _brought(self, exit_id: bytes, boxes: Sequence[bytes]) -> doors.DoorReply:
        if exit_id == self.id:
            return doors.DoorReply(tuple(self.serve(box, self.shown) for box in boxes))
        peer = await self._swarm.dial(self._exits[exit_id])
        request, limit = doors.encode_exit_request(boxes), doors.REPLY_MAX
        raw = await self._swarm.request(peer, doors.EXIT, request, reply_max=limit, timeout=60)
        return doors.decode_reply(raw, boxes=len(boxes))


@contextlib.asynccontextmanager
async def liar(s: Scene, *, alone: bool = False) -> AsyncIterator[Liar]:
    """`alone`: whether it names no other relay."""
    async with open_swarm(listen=LOOPBACK, seed=bytes([2]) * 32) as swarm:
        peer = await swarm.dial(s.relay_addr)
        reply = await swarm.request(
            peer, doors.DESCRIPTORS, b"", reply_max=doors.DESCRIPTORS_SIZE, timeout=60
        )
        known = () if alone else doors.decode_descriptors(reply).raws
        exits = {read_descriptor(raw).relay: s.relay_addr for raw in known}
        found = Liar(swarm, known, exits)
        found.records = [s.record.raw]
        yield found


def person(folder: Path, number: int) -> Path:
    """The home of a person who has agreed, and has two reports that are due."""
    home = folder / f"person{number}"
    grant(user_paths(home), NAMESPACE, ["heartbeat", "system"], now=0)
    past = ManualClock(Clock().now() - 10 * DAY)
    settings = RecorderSettings(publisher="none", strict=True)
    with Recorder(world.CATALOG, user_paths(home), settings, clock=past) as recorder:
        assert recorder.record("heartbeat", os="linux")
        assert recorder.record("system", os="linux", arch="aarch64")
    return home


async def publish(home: Path, *relays: str) -> list[bytes]:
    """Run `methrics publish --once`; the reports that it says to have sent."""
    named = [part for relay in relays for part in ("--relay", relay)]
    command = [*METHRICS, "publish", "--home", str(home), *named, "--once", "--json"]
    done = await trio.run_process(
        command, capture_stdout=True, capture_stderr=True, check=False, env=dict(os.environ)
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [bytes.fromhex(one["raw"]) for one in events if one["event"] == "sent"]


async def test_attack_relay_that_drops_delays_and_doubles(tmp_path: Path) -> None:
    """A relay that forgets reports loses those that it was given, and nobody else's. What it keeps
    back, or publishes twice, is stored once."""
    async with (
        scene(tmp_path) as s,
        liar(s, alone=True) as false,
        stranger(s.aggregator_addr) as voice,
    ):
        for number in range(4):
            relay = false.addr if number % 2 else s.relay_addr
            sent = await publish(person(tmp_path, number), relay)
            assert len(sent) == 2
            s.sent += sent if relay == s.relay_addr else []
        assert len(false.items) == 4
        dropped, late = false.items[:2], false.items[2:]
        await s.until_stored()
        for raw in late:
            await voice.publish(world.TOPIC, world.bundle([raw]), world.bundle([raw, late[0]]))
        s.sent += late
        await s.submit(10)
        await s.until_stored()
        assert s.committed() == len(s.sent)
    assert len(s.stored) == len(s.sent)
    assert not s.stored & set(dropped)


async def test_attack_relay_that_tags_people_by_records(tmp_path: Path) -> None:
    """A record made for one person would mark that person's reports. An entry is no exit where
    another one is known, so nobody asks it for records: the reports leave under everybody's."""
    async with scene(tmp_path) as s, liar(s) as false, stranger(s.relay_addr) as voice:
        await voice.publish(RELAYS_TOPIC, world.notice(false.descriptor()))
        await knows(s.relay_addr, false.id)
        for number in range(2):
            mark = world.other_catalog(number)
            listed = [world.CATALOG.id, mark.id]
            made = world.record(listed, previous=[s.record.id], time=s.later())
            false.records = [made.raw]
            sent = await publish(person(tmp_path, number), false.addr)
            assert len(sent) == 2
            s.sent += sent
        assert (false.items, inner.RECORDS in false.questions) == ([], False)
        assert await records_of(s.relay_addr) == [s.record.raw]
        await s.until_stored()


async def knows(addr: str, relay: bytes) -> None:
    """Wait until the relay at `addr` shows a descriptor of another one."""
    with trio.fail_after(60):
        async with stranger(addr) as peer:
            while True:
                told = doors.decode_descriptors(await peer.request(doors.DESCRIPTORS, b""))
                if relay in [read_descriptor(raw).relay for raw in told.raws]:
                    return
                await trio.sleep(0.2)
