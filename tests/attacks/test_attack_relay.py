"""A relay that lies to people: it drops, delays or doubles reports, or shows its own record."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import trio
from tests.attacks import world
from tests.attacks.peer import stranger
from tests.attacks.processes import METHRICS
from tests.attacks.scene import Scene, scene
from tests.attacks.test_attack_records import records_of, until_told

from methrics.node.clock import Clock, ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.network.libp2p import open_swarm
from methrics.node.outbox.periods import DAY
from methrics.node.paths import namespace_of, user_paths
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.node.relay import boxes, submit
from methrics.schema.wire.verdict import Reason

NAMESPACE = namespace_of(world.CATALOG.label, world.CATALOG.short_key)
LOOPBACK = ["/ip4/127.0.0.1/tcp/0"]


class Liar:
    """Says that it has taken every report; `taken` holds what it was given."""

    def __init__(self, swarm: Any, records: Sequence[bytes]) -> None:
        self.addr = str(swarm.addrs[0])
        self.records = tuple(records)
        self.taken: list[bytes] = []
        self._key = boxes.BoxKey.fresh()
        swarm.serve(submit.RELAY, self._describe, request_max=submit.DESCRIBE_MAX)
        swarm.serve(submit.SUBMIT, self._submit, request_max=submit.SUBMIT_MAX)

    async def _describe(self, _: str, __: bytes) -> bytes:
        topics = (world.TOPIC,)
        return submit.encode_description(
            submit.Description(self._key.public, topics, world.now(), 600, self.records)
        )

    async def _submit(self, _: str, body: bytes) -> bytes:
        found = submit.decode_request(body)
        self.taken += [boxes.unseal(one, self._key) for one in found]
        return submit.encode_reply(submit.Reply((Reason.OK,) * len(found)))


@contextlib.asynccontextmanager
async def liar(s: Scene) -> AsyncIterator[Liar]:
    async with open_swarm(listen=LOOPBACK) as swarm:
        yield Liar(swarm, [s.record.raw])


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
    """Each report goes to two relays, so one that forgets it, keeps it back, or publishes it twice
    and alone changes nothing of what is stored."""
    async with scene(tmp_path) as s, liar(s) as false, stranger(s.aggregator_addr) as voice:
        for number in range(4):
            sent = await publish(person(tmp_path, number), false.addr, s.relay_addr)
            assert len(sent) == 2
            s.sent += sent
        late = [raw for raw in false.taken if raw in s.sent]
        assert len(late) == 8, "the liar was given every report, too"
        await s.until_stored()
        for raw in late[2:]:
            await voice.publish(world.TOPIC, world.bundle([raw]), world.bundle([raw, late[0]]))
        await s.submit(10)
        await s.until_stored()
        assert s.committed() == len(s.sent)
    assert len(s.stored) == len(s.sent)


async def test_attack_relay_that_tags_people_by_records(tmp_path: Path) -> None:
    """A record made for one person would mark that person's reports. The publisher hands it to the
    other relay before anything leaves, so it is everybody's; two of them prove what the owner does.
    """
    async with scene(tmp_path) as s, liar(s) as false:
        marks = []
        for number in range(2):
            mark = world.other_catalog(number)
            listed = [world.CATALOG.id, mark.id]
            marks.append(world.record(listed, previous=[s.record.id], time=s.later()))
            false.records = (marks[-1].raw,)
            sent = await publish(person(tmp_path, number), false.addr, s.relay_addr)
            shown = await records_of(s.relay_addr)
            assert marks[-1].raw in shown
            s.sent += sent
        assert set(shown) == {one.raw for one in marks}, "the proof of an equivocation"
        await s.until_stored()
        for victim in (s.relay_addr, s.aggregator_addr):
            await until_told(victim, {one.raw for one in marks})
