"""A report goes through an entry and an exit to a collector, over libp2p on loopback."""

from __future__ import annotations

import random

import pytest
import trio
from tests.listing import listed_book
from tests.node.relay_making import CATALOG, NAMESPACE, TOPIC, TrioClock, report

from methrics.node.network.libp2p import open_swarm
from methrics.node.network.peer_ids import key_of
from methrics.node.network.swarm import Swarm
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import seal
from methrics.node.ohttp.key_config import ExitKey
from methrics.node.relay import doors
from methrics.node.relay.door_service import DoorParts
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import RelaySettings, run_relay
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.verdict import Decision, Reason

pytestmark = pytest.mark.wire

LOOPBACK = ["/ip4/127.0.0.1/tcp/0"]
KEY = ExitKey(7, b"k" * 32)


async def start(nursery: trio.Nursery, swarm: Swarm, role: str, parts: DoorParts) -> None:
    settings = RelaySettings(
        topics=(TOPIC,), mix=MixLimits(batch_window=0.2, rest=0), roles=(role,)
    )
    book = listed_book(CATALOG, seed=NAMESPACE, topics={TOPIC})
    await nursery.start(
        lambda task_status: run_relay(
            swarm,
            book,
            settings,
            clock=TrioClock(),
            rng=random.Random(1),
            parts=parts,
            task_status=task_status,
        )
    )


async def test_a_report_goes_through_two_relays_to_a_collector() -> None:
    collected, arrived = list[bytes](), trio.Event()

    async def collect(peer: str, message: bytes) -> Decision:
        about, items = unpack(message)
        if about:
            collected.extend(items)
            arrived.set()
        return Decision.ACCEPT

    with trio.fail_after(60):
        async with (
            open_swarm(listen=LOOPBACK) as entry,
            open_swarm(listen=LOOPBACK) as exit_,
            open_swarm(listen=LOOPBACK) as collector,
            open_swarm() as app,
            trio.open_nursery() as nursery,
        ):
            exit_id = key_of(exit_.peer_id)
            assert exit_id is not None
            known = {exit_id: exit_.addrs}
            await start(nursery, entry, "entry", DoorParts(addresses=known.get))
            await start(nursery, exit_, "exit", DoorParts(keys=lambda: {7: KEY}))
            await collector.join(TOPIC, collect)
            await collector.dial(exit_.addrs[0])
            await exit_.wait_for_peers(TOPIC, 1)
            sealed = seal(KEY.config, inner.encode_question(inner.BOX, report(1)))
            peer = await app.dial(entry.addrs[0])
            body = doors.encode_entry_request(exit_id, [sealed.box])
            raw = await app.request(peer, doors.ENTRY, body, reply_max=doors.REPLY_MAX, timeout=60)
            (answer,) = doors.decode_reply(raw, boxes=1).answers
            assert inner.decode_answer(sealed.open(answer)).reason is Reason.OK
            await arrived.wait()
            assert collected == [report(1)]
            nursery.cancel_scope.cancel()
