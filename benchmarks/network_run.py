"""The processes of `bench_network.py`: relays, collectors, and senders that stand for many nodes.

    python benchmarks/network_run.py relay|collect|send '{...}'

Each prints one JSON object per line, and obeys one JSON object per line of its standard input.
`Part` is the parent's side of one process.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import trio

from methrics.node.clock import Clock
from methrics.node.network.libp2p import GossipSettings, open_swarm
from methrics.node.network.peer_ids import key_of
from methrics.node.network.swarm import Swarm
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import Sealed, seal
from methrics.node.ohttp.key_config import ExitKey
from methrics.node.relay import doors
from methrics.node.relay.door_service import DoorParts
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import RelaySettings, run_relay
from methrics.node.relay.state_folder import StateFolder
from methrics.schema.errors import RemoteError
from methrics.schema.example import example_catalog, example_seed
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.bundle import Packer, unpack
from methrics.schema.wire.record import decode_record, sign_record
from methrics.schema.wire.verdict import Decision, Reason

TOPIC = example_catalog().topic
LISTEN = "/ip4/127.0.0.1/tcp/0"
SWIFT = GossipSettings(message_rate=100_000, byte_rate=1e9, requests_per_peer=64, requests_max=2048)
"""All processes are of one network, which would get an eighth of what a relay answers at once."""

KEY_ID = 1
WINDOW = 0.3
"""Seconds of the relays' batch window."""

ASK_TIME = 30.0
"""Seconds for which a sender waits for one reply."""

PAUSE = 0.1
"""Seconds after which a sender brings what got no answer to the next entry."""

KEPT = (Reason.OK, Reason.DUPLICATE)


def say(**values: object) -> None:
    """Print one line."""
    print(json.dumps(values), flush=True)


class Part:
    """One process, in its parent."""

    def __init__(self, role: str, **given: object) -> None:
        command = [sys.executable, __file__, role, json.dumps(given)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    @cached_property
    def info(self) -> dict[str, Any]:
        """What it said when it had started."""
        return self.hear()

    def tell(self, **order: object) -> None:
        """Give an order, without waiting for an answer."""
        assert self.info is not None, "it has started"
        assert self.process.stdin is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        """Wait for the next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a process of the benchmark ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, **order: object) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        self.tell(**order)
        return self.hear()

    def kill(self) -> None:
        """Kill the process and let the system forget it."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def parts() -> Iterator[Callable[..., Part]]:
    """A function that starts processes; they are killed at the end."""
    started: list[Part] = []

    def start(role: str, **given: object) -> Part:
        started.append(Part(role, **given))
        return started[-1]

    try:
        yield start
    finally:
        for part in started:
            part.kill()


async def orders() -> AsyncIterator[dict[str, Any]]:
    """The orders on the standard input."""
    async with trio.wrap_file(sys.stdin) as lines:
        async for line in lines:
            yield json.loads(line)


def key_of_exit(seed: str) -> ExitKey:
    """The key of the boxes of the exit whose host key has this seed (hexadecimal)."""
    return ExitKey(KEY_ID, bytes.fromhex(seed))


async def relay(given: dict[str, Any]) -> None:
    """Entry and exit. Given: `seed`, the `entries` that may bring many boxes, and the `folder` for
    what rests. Orders: `directory` (exit id -> addresses), `counts`."""
    catalog, book = example_catalog(), CatalogBook({TOPIC})
    now = int(time.time())
    record = sign_record([catalog.id], example_seed(), time=now - 86_400 * 7, expires=now + 86_400)
    book.records.add(record, decode_record(record.payload))
    book.add(catalog, given=True)
    key = key_of_exit(given["seed"])
    directory: dict[bytes, tuple[str, ...]] = {}
    settings = RelaySettings(
        topics=(TOPIC,),
        mix=MixLimits(batch_window=WINDOW, rest=0),
        spread=0,
        entries=tuple(given["entries"]),
        boxes_per_minute=10**9,
        entry_boxes_per_minute=10**9,
    )
    served = DoorParts(keys=lambda: {KEY_ID: key}, addresses=directory.get)
    async with (
        open_swarm(listen=[LISTEN], seed=bytes.fromhex(given["seed"]), settings=SWIFT) as swarm,
        trio.open_nursery() as nursery,
    ):
        start = partial(run_relay, swarm, book, settings, clock=Clock(), rng=random.SystemRandom())
        state = StateFolder(given["folder"])
        running = await nursery.start(partial(start, parts=served, state=state))
        own = key_of(swarm.peer_id)
        assert own is not None
        say(addr=swarm.addrs[0], id=own.hex())
        async for order in orders():
            for one, addr in order.get("directory", {}).items():
                directory[bytes.fromhex(one)] = (addr,)
            used = time.process_time()
            say(cpu=used, published=running.statistics.published, pooled=running.pooled)
        nursery.cancel_scope.cancel()


async def collect(given: dict[str, Any]) -> None:
    """A peer of the topic that notes when each report comes first. Given: `peers`. Orders: `wait`
    (number of reports) and `seconds`; the answer has how many came, how often one came again, and
    the `times` of all if asked for."""
    came: dict[str, float] = {}
    again = 0
    more = trio.Event()

    async def take(_: str, data: bytes) -> Decision:
        nonlocal again, more
        now = time.time()
        about, items = unpack(data)
        for raw in items if about else ():
            again += name_of(raw) in came
            came.setdefault(name_of(raw), now)
        more.set()
        more = trio.Event()
        return Decision.ACCEPT

    async with open_swarm(listen=[LISTEN], settings=SWIFT) as swarm:
        await swarm.join(TOPIC, take)
        for peer in given["peers"]:
            swarm.keep(peer)
        await swarm.wait_for_peers(TOPIC, len(given["peers"]))
        say(addr=swarm.addrs[0])
        async for order in orders():
            with trio.move_on_after(order["seconds"]):
                while len(came) < order["wait"]:
                    await more.wait()
            times = came if order.get("times") else {}
            say(count=len(came), again=again, last=max(came.values(), default=0.0), times=times)


class Sender:
    """Stands for many nodes: brings sealed reports to entries, until exits have taken them. With
    `own`, it stands for an entry, and brings them to the exits themselves."""

    def __init__(self, swarm: Swarm, ways: Sequence[str], own: bool) -> None:
        self._swarm = swarm
        self._ways = ways
        self._own = own
        self._way = 0
        self._requests: list[tuple[bytes, dict[str, Sealed]]] = []
        self.taken: dict[str, float] = {}
        """When the way of a report began, by its name; only of those that an exit has taken."""

    def prepare(self, reports: Sequence[bytes], exits: dict[bytes, ExitKey], size: int) -> None:
        """Seal the reports in requests of `size` boxes, for one exit after another."""
        ids = list(exits)
        self._requests = []
        self.taken = {}
        for number, start in enumerate(range(0, len(reports), size)):
            exit_id = ids[number % len(ids)]
            config = exits[exit_id].config
            boxes = {
                name_of(raw): seal(config, inner.encode_question(inner.BOX, raw))
                for raw in reports[start : start + size]
            }
            self._requests.append((exit_id, boxes))

    async def send(self, at_once: int, rate: float = 0.0) -> None:
        """Bring all boxes, in `at_once` requests at once; `rate`: requests per second, 0 for as
        fast as possible."""
        waiting, began = iter([*enumerate(self._requests)]), time.monotonic()

        async def work() -> None:
            for number, (exit_id, boxes) in waiting:
                if rate:
                    await trio.sleep(max(0.0, began + number / rate - time.monotonic()))
                await self._bring(exit_id, boxes)

        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(work)

    async def _bring(self, exit_id: bytes, boxes: dict[str, Sealed]) -> None:
        begun = time.time()
        while boxes:
            way = self._way
            kept = await self._ask(self._ways[way % len(self._ways)], exit_id, boxes)
            self.taken |= dict.fromkeys(kept, begun)
            boxes = {name: one for name, one in boxes.items() if name not in kept}
            if boxes:
                self._way = way + 1
                await trio.sleep(PAUSE)

    async def _ask(self, addr: str, exit_id: bytes, boxes: dict[str, Sealed]) -> list[str]:
        """Return the names of the reports that the exit has taken."""
        bare = [one.box for one in boxes.values()]
        if self._own:
            protocol, body = doors.EXIT, doors.encode_exit_request(bare)
        else:
            protocol, body = doors.ENTRY, doors.encode_entry_request(exit_id, bare)
        try:
            with trio.fail_after(ASK_TIME):
                ask = partial(self._swarm.request, await self._swarm.dial(addr), protocol, body)
                reply = await ask(reply_max=doors.REPLY_MAX, timeout=ASK_TIME)
            answers = doors.decode_reply(reply, boxes=len(boxes)).answers
        except (RemoteError, trio.TooSlowError):
            return []
        return [
            name
            for (name, one), answer in zip(boxes.items(), answers, strict=False)
            if answer and inner.decode_answer(one.open(answer)).reason in KEPT
        ]


def name_of(raw: bytes) -> str:
    """A short name of a report: the beginning of its signature."""
    return raw[-64:-52].hex()


async def send(given: dict[str, Any]) -> None:
    """Given: a `seed`, the `exits` (id -> seed), the addresses to bring boxes to (`ways`), and
    whether they are exits (`own`). Orders: `prepare` (a file of `write_reports`) with `first`,
    `count` and `size`; `send` with `at_once` and `rate`; `direct`, which publishes the same reports
    to the topic itself."""
    exits = {bytes.fromhex(one): key_of_exit(seed) for one, seed in given["exits"].items()}
    async with open_swarm(seed=bytes.fromhex(given["seed"]), settings=SWIFT) as swarm:
        sender = Sender(swarm, given["ways"], given["own"])
        reports: list[bytes] = []
        say(peer=swarm.peer_id)
        async for order in orders():
            used, began = time.process_time(), time.time()
            if "prepare" in order:
                every = read_reports(Path(order["prepare"]))
                reports = every[order["first"] : order["first"] + order["count"]]
                if exits:
                    sender.prepare(reports, exits, order["size"])
            elif "direct" in order:
                await publish(swarm, given["ways"], reports, order["direct"])
            elif "send" in order:
                await sender.send(order["send"], order["rate"])
            times = sender.taken if order.get("times") else {}
            took = time.process_time() - used
            say(cpu=took, began=began, taken=len(sender.taken), times=times)


async def publish(swarm: Swarm, peers: Sequence[str], reports: Sequence[bytes], size: int) -> None:
    """Publish the reports to the topic, `size` in a bundle, as the route `direct` does."""
    for peer in peers:
        await swarm.dial(peer)
    await swarm.wait_for_peers(TOPIC, len(peers))
    for start in range(0, len(reports), size):
        packer = Packer(example_catalog().id)
        for raw in reports[start : start + size]:
            packer.add(raw)
        await swarm.wait_for_room(TOPIC)
        await swarm.publish(TOPIC, packer.take())


def write_reports(file: Path, reports: Sequence[bytes]) -> None:
    """Write reports for the order `prepare`."""
    file.write_bytes(b"".join(len(one).to_bytes(4, "big") + one for one in reports))


def read_reports(file: Path) -> list[bytes]:
    """Read what `write_reports` has written."""
    data, place, found = file.read_bytes(), 0, list[bytes]()
    while place < len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "big")
        found.append(data[place + 4 : end])
        place = end
    return found


ROLES: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
    "relay": relay,
    "collect": collect,
    "send": send,
}

if __name__ == "__main__":
    trio.run(ROLES[sys.argv[1]], json.loads(sys.argv[2]))
