"""Relays say what they are, and an app uses what one relay says of another."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from tests.listing import listed_book
from tests.node.relay_making import CATALOG, NAMESPACE, TOPIC, TrioClock, report

from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import seal
from methrics.node.ohttp.key_config import decode_key_config
from methrics.node.process.worker import inline
from methrics.node.relay import doors, own_doors
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.own_doors import OwnDoors
from methrics.node.relay.relay import RelaySettings, run_relay
from methrics.node.relay.state_folder import StateFolder
from methrics.schema.wire.descriptor import SignedDescriptor, read_descriptor
from methrics.schema.wire.envelope import public_key
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.verdict import Reason

SEED = b"a" * 32

SETTINGS = RelaySettings(topics=(TOPIC,), mix=MixLimits(batch_window=30, rest=0), operator="Ann")


async def serve(
    network: MemoryNetwork,
    seed: bytes,
    folder: StateFolder | None = None,
    *,
    task_status: trio.TaskStatus[tuple[MemorySwarm, OwnDoors]],
) -> None:
    async with network.open_swarm(key=public_key(seed)) as swarm, trio.open_nursery() as nursery:
        clock, rng = TrioClock(), random.Random(seed[0])
        own = OwnDoors(swarm, SETTINGS, seed, files=folder, clock=clock, rng=rng)
        book = listed_book(CATALOG, seed=NAMESPACE, topics={TOPIC})
        await nursery.start(
            lambda task_status: run_relay(
                swarm,
                book,
                SETTINGS,
                clock=clock,
                rng=rng,
                worker=inline,
                own=own,
                task_status=task_status,
            )
        )
        task_status.started((swarm, own))
        await trio.sleep_forever()


async def told(app: MemorySwarm, address: str) -> list[SignedDescriptor]:
    peer = await app.dial(address)
    limit = doors.DESCRIPTORS_SIZE
    reply = await app.request(peer, doors.DESCRIPTORS, b"", reply_max=limit, timeout=9)
    return [read_descriptor(raw) for raw in doors.decode_descriptors(reply).raws]


async def test_an_app_that_knows_one_relay_hands_a_report_to_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network, seeds = MemoryNetwork(rng=random.Random(1)), (b"a" * 32, b"b" * 32)
    async with trio.open_nursery() as nursery, network.open_swarm(listen=False) as app:
        entry, _ = await nursery.start(serve, network, seeds[0])
        exit_, own = await nursery.start(serve, network, seeds[1])
        await exit_.dial(entry.addrs[0])
        found: list[SignedDescriptor] = []
        while not (
            found := [one for one in await told(app, entry.addrs[0]) if one.relay == own.own.relay]
        ):
            await trio.sleep(10)
        today = next(one for one in found if one.descriptor.day == TrioClock().now() // DAY)
        assert today.descriptor.operator == "Ann"
        config = decode_key_config(today.descriptor.keys[0])
        box = seal(config, inner.encode_question(inner.BOX, report(1)))
        body = doors.encode_entry_request(today.relay, [box.box])
        reply = await app.request(
            entry.peer_id, doors.ENTRY, body, reply_max=doors.REPLY_MAX, timeout=29
        )
        answer = doors.decode_reply(reply, boxes=1).answers[0]
        assert inner.decode_answer(box.open(answer)).reason is Reason.OK
        nursery.cancel_scope.cancel()


async def test_an_operator_who_has_changed_settings_is_told_once(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = MemoryNetwork(rng=random.Random(1))
    with StateFolder(tmp_path / "relay") as folder:
        for operator, warned in (("Ann", 0), ("Ann", 0), ("Bob", 1)):
            caplog.clear()
            settings = replace(SETTINGS, operator=operator)
            async with (
                network.open_swarm(key=public_key(SEED)) as swarm,
                trio.open_nursery() as nursery,
            ):
                own = OwnDoors(
                    swarm, settings, SEED, files=folder, clock=TrioClock(), rng=random.Random(1)
                )
                await own.exchange.join()
                nursery.start_soon(own.run)
                await trio.sleep(2 * own_doors.TEND_EVERY)
                nursery.cancel_scope.cancel()
            told = [one for one in caplog.records if "other settings" in one.getMessage()]
            assert len(told) == warned


async def test_keys_are_erased_while_the_clock_runs_evenly(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    network = MemoryNetwork(rng=random.Random(1))
    with StateFolder(tmp_path / "relay") as folder:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, network, b"a" * 32, folder)
            first = Path(folder.file(f"exit-key.{TrioClock().now() // DAY}"))
            while not first.exists():
                await trio.sleep(own_doors.TEND_EVERY)
            await trio.sleep(4 * DAY)
            assert not first.exists()
            nursery.cancel_scope.cancel()
