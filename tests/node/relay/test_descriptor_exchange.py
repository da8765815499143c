"""What a relay says outlives restarts and full disks, and it does not stay alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
from tests.node.relay_making import TOPIC, TrioClock

from methrics.node.network.memory import MemoryNetwork
from methrics.node.relay.day_keys import DayKeys
from methrics.node.relay.descriptor_exchange import DescriptorExchange
from methrics.node.relay.directory import Directory
from methrics.node.relay.own_descriptor import OwnDescriptor, Said
from methrics.node.relay.state_folder import StateFolder
from methrics.schema.errors import StoreError
from methrics.schema.wire.descriptor import (
    RELAYS_TOPIC,
    Descriptor,
    SignedDescriptor,
    sign_descriptor,
)
from methrics.schema.wire.envelope import public_key
from methrics.schema.wire.limits import DAY

SEED = b"r" * 32
SAID = Said(("entry", "exit"), ("https://relay.example.org",), (TOPIC,), "Ann")
TODAY = 20_000


class KilledError(BaseException):
    """The end of the process, in the place of SIGKILL."""


class Killed:
    """Files of a relay that is killed at the step `at`: before a write, or right after it."""

    def __init__(self, folder: StateFolder, at: int) -> None:
        self._folder = folder
        self._left = at

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise KilledError

    def read(self, name: str, *, limit: int) -> bytes | None:
        return self._folder.read(name, limit=limit)

    def write(self, name: str, content: bytes) -> None:
        self._step()
        self._folder.write(name, content)
        self._step()

    def remove(self, name: str) -> None:
        self._folder.remove(name)


def said(folder: StateFolder | Killed, what: Said = SAID) -> bytes:
    """The bytes that a relay says of today, after a start with this folder."""
    found = OwnDescriptor(folder, SEED, DayKeys(folder), what).of(TODAY)
    assert found is not None
    return found.item.raw


def test_a_relay_that_starts_again_says_the_same_bytes(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "relay") as folder:
        before = said(folder)
        changed = Said(("exit",), ("https://other.example.org",), (), "Bob")
        assert said(folder) == said(folder, changed) == before
        assert OwnDescriptor(folder, SEED, DayKeys(folder), changed).is_older(TODAY)
        assert not OwnDescriptor(folder, SEED, DayKeys(folder), SAID).is_older(TODAY)


@pytest.mark.parametrize("at", range(5))
def test_attack_a_kill_while_a_day_key_is_made_never_makes_two_descriptors(
    tmp_path: Path, at: int
) -> None:
    with StateFolder(tmp_path / "relay") as folder:
        seen = None
        try:
            seen = said(Killed(folder, at))
        except KilledError:
            assert at < 4, "four steps: the key before and after its write, the descriptor likewise"
        else:
            assert at == 4
        keys = folder.read(f"exit-key.{TODAY}", limit=32)
        after = said(folder)
        assert seen in (None, after)
        assert keys in (None, folder.read(f"exit-key.{TODAY}", limit=32))
        assert said(folder) == after


def exchange(
    network_swarm: object, own: object, directory: Directory | None = None
) -> DescriptorExchange:
    return DescriptorExchange(
        network_swarm,  # type: ignore[arg-type]
        Directory() if directory is None else directory,
        clock=TrioClock(),
        rng=random.Random(3),
        own=own,  # type: ignore[arg-type]
    )


async def test_attack_a_full_disk_for_tomorrow_does_not_silence_today(
    autojump_clock: trio.testing.MockClock,
) -> None:
    today = TrioClock().now() // DAY
    signed = sign_descriptor(Descriptor(today, ("entry",), ("https://relay.example.org",)), SEED)

    def own(day: int) -> SignedDescriptor:
        if day > today:
            raise StoreError("state-unwritable", "the disk is full")
        return signed

    network = MemoryNetwork(rng=random.Random(1))
    async with network.open_swarm(key=public_key(SEED)) as swarm:
        await trio.sleep(max(0, (today + 1) * DAY - 3600 - TrioClock().now()))
        assert exchange(swarm, own).descriptors() == (signed.item.raw,)


async def test_attack_strangers_who_come_in_numbers_do_not_keep_a_node_from_dialling(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Eight nodes of one stranger are connected; still the node reaches the honest relay."""
    network = MemoryNetwork(rng=random.Random(1))
    async with (
        network.open_swarm(key=public_key(b"n" * 32)) as node,
        network.open_swarm(key=public_key(SEED)) as honest,
        trio.open_nursery() as nursery,
    ):
        directory, clock = Directory(), TrioClock()
        one = exchange(node, lambda _: None, directory)
        await one.join()
        await honest.join(RELAYS_TOPIC, exchange(honest, lambda _: None).validate)
        for n in range(8):
            await nursery.start(hold, network, bytes([n + 1]) * 32, node.addrs[0])
        day = clock.now() // DAY
        told = sign_descriptor(Descriptor(day, ("entry",), honest.addrs), SEED)
        directory.add(told.item.raw, clock.now())
        nursery.start_soon(one.run)
        with trio.fail_after(600):
            while honest.peer_id not in node.peers(RELAYS_TOPIC):
                await trio.sleep(1)
        nursery.cancel_scope.cancel()


async def hold(
    network: MemoryNetwork,
    seed: bytes,
    address: str,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """A stranger that connects to an address and joins the topic."""
    async with network.open_swarm(key=public_key(seed)) as swarm:
        await swarm.join(RELAYS_TOPIC, exchange(swarm, lambda _: None).validate)
        await swarm.dial(address)
        task_status.started()
        await trio.sleep_forever()
