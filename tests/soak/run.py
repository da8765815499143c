"""A network under kills for a while: what was acknowledged is stored, and nothing leaks.

Real are the relays, the aggregators, and each visit of a person: a process that records events,
signs reports and hands them to both relays. Visits are forked from one process, because 50 imports
of libp2p would measure imports. One relay and one aggregator are killed and started again; the
others run all the time, and their memory is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trio
from tests.attacks.processes import PATIENCE, Service
from tests.ports import free_port
from tests.soak.watch import Series

from methrics.aggregate.read.dataset import open_dataset
from methrics.node.clock import Clock
from methrics.node.consent.ledger import grant
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.paths import namespace_of, user_paths
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.wire.record import sign_record

SEED = b"a namespace that is soaked......"
SOURCE = """
[catalog]
label = "soaked"
contact = "https://example.org"
[types.click]
kind = "event"
question = "Does anything get lost?"
why = "Shows that nothing gets lost."
owner = "Tests"
review = "https://example.org/review"
expires = 2099-01-01
retention_days = 30
entropy_bits = 20
chart = "line"
[types.click.release]
delay = 300
jitter = 0
[types.click.fields.serial]
type = "count"
max = 999
says = "A number that only this test uses."
"""
HERE = Path(__file__).parent
POSTPONED = 4
"""The exit code of a visit that could hand in nothing: it tries again next time."""

SAMPLE = 2.0
"""Seconds between two samples."""


@dataclass(frozen=True)
class Plan:
    """How long, how many people, and how often something is killed."""

    seconds: float = 1800
    people: int = 50
    at_once: int = 4
    """Visits that run at the same time; more would only wait for the processor."""
    events: int = 5
    """Most events of one visit."""
    killed: float = 0.25
    """The share of visits that end by SIGKILL."""
    kill_every: float = 20
    """Seconds between two kills of a relay or an aggregator."""
    warm_up: float = 60
    """Seconds of each process that do not count as growth."""
    seed: int = 1


@dataclass
class Result:
    """What happened, and what is wrong."""

    visits: int = 0
    visits_killed: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    uncommitted: int = 0
    """Reports that an aggregator said to have committed, and does not have."""
    slopes: dict[str, float] = field(default_factory=dict)
    descriptors: dict[str, tuple[int, int]] = field(default_factory=dict)
    threads: dict[str, tuple[int, int]] = field(default_factory=dict)
    """After the warm-up's end and at the end of the visits, when all people have left."""
    memory: dict[str, float] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The result as text."""
        yield f"visits {self.visits}, killed {self.visits_killed}; services killed {self.kills}"
        yield f"acknowledged {self.acknowledged}, stored {self.stored}, lost {self.lost}"
        yield f"committed and missing after kills: {self.uncommitted}"
        for name, slope in self.slopes.items():
            fds, tasks = self.descriptors[name], self.threads[name]
            yield (
                f"{name}: {self.memory[name]:.0f} MiB, {slope:+.2f} MiB/min, "
                f"descriptors {fds[0]} -> {fds[1]}, threads {tasks[0]} -> {tasks[1]}"
            )


class Network:
    """Two relays and two aggregators, each with a key and a port that outlive a kill."""

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self.folder = folder
        self.catalog = catalog
        self.services: dict[str, Service] = {}
        self.addresses: dict[str, str] = {}
        self.series: dict[str, Series] = {}
        self.ports = {name: free_port() for name in ("r1", "r2", "a1", "a2")}
        now = Clock().now()
        (folder / "soaked.cbor").write_bytes(catalog.raw)
        record = sign_record([catalog.id], SEED, time=now - 60, expires=now + 30 * 86_400)
        (folder / "record.cbor").write_bytes(record.raw)

    def arguments(self, name: str) -> list[str]:
        common = ["--listen", f"/ip4/127.0.0.1/tcp/{self.ports[name]}"]
        common += ["--catalog", str(self.folder / "soaked.cbor")]
        common += ["--record", str(self.folder / "record.cbor")]
        common += ["--key", str(self.folder / f"{name}.key")]
        for other, address in self.addresses.items():
            if other.startswith("r") and other != name:
                common += ["--peer", address]
        if name.startswith("r"):
            state = str(self.folder / f"{name}.state")
            quick = ["--rest", "0s", "--spread", "0s", "--batch-window", "0.5s"]
            return ["relay", *quick, "--state", state, *common]
        return ["aggregate", str(self.folder / f"{name}.duckdb"), *common]

    async def start(self, name: str) -> None:
        """Start a service, or start it again; it listens where it did before."""
        already = len(self.services[name].events("listening")) if name in self.services else 0
        service = self.services[name] = Service(self.folder, name, self.arguments(name))
        await service.until("listen", lambda: len(service.events("listening")) > already, 180)
        self.addresses[name] = str(service.events("listening")[-1]["addrs"][0])
        self.series[name] = Series(name)

    def committed(self, name: str) -> int:
        """Reports that an aggregator has told to be on disk, over all its starts."""
        return sum(int(one["reports"]) for one in self.services[name].events("commit"))

    def stored(self, name: str) -> set[bytes]:
        """The exact bytes that an aggregator has, after it has ended."""
        with open_dataset(self.folder / f"{name}.duckdb") as data:
            return {bytes(raw) for (raw,) in data.rows("SELECT raw FROM item")}


class People:
    """The process that forks visits, and the homes of all people."""

    def __init__(self, network: Network, plan: Plan, rng: random.Random, result: Result) -> None:
        self.network = network
        self.plan = plan
        self.rng = rng
        self.result = result
        self.running: dict[int, str] = {}
        self.begun = 0
        self.protected = False
        self.failed: list[int] = []
        self._killed: set[int] = set()
        namespace = network.catalog.label, network.catalog.short_key
        self.namespace = namespace_of(*namespace)
        self.homes = [network.folder / f"home{number}" for number in range(plan.people)]
        for home in self.homes:
            grant(user_paths(home), self.namespace, ["click"], now=0)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        catalog = str(self.network.folder / "soaked.cbor")
        relays = [self.network.addresses["r1"], self.network.addresses["r2"]]
        env = {key: one for key, one in os.environ.items() if not key.startswith("METHRICS")}
        for name in ("CI", "DO_NOT_TRACK"):
            env.pop(name, None)
        command = [sys.executable, str(HERE / "people.py"), catalog, *relays]
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
        )
        assert process.stdin is not None
        self._orders = process.stdin
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, process)
            try:
                yield
            finally:
                process.kill()
                await process.wait()
                nursery.cancel_scope.cancel()

    async def _listen(self, process: trio.Process) -> None:
        rest = b""
        assert process.stdout is not None
        async for part in process.stdout:
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                match line.decode().split():
                    case ["pid", pid, home]:
                        self.running[int(pid)] = home
                        self.begun += 1
                    case ["ended", pid, status]:
                        self.running.pop(int(pid), None)
                        code = os.waitstatus_to_exitcode(int(status))
                        if code not in (0, POSTPONED) and int(pid) not in self._killed:
                            self.failed.append(code)

    async def visit(self, home: Path, events: int) -> None:
        """Have a person come; returns when the visit has begun."""
        self.result.visits += 1
        begun = self.begun
        order = json.dumps({"home": str(home), "events": events}) + "\n"
        await self._orders.send_all(order.encode())
        with trio.fail_after(PATIENCE):
            while self.begun == begun:
                await trio.sleep(0.02)

    async def come_and_go(self) -> None:
        """People come at random, one visit at a time each; some are killed."""
        while True:
            here = set(self.running.values())
            away = [home for home in self.homes if str(home) not in here]
            if len(self.running) < self.plan.at_once and away:
                await self.visit(self.rng.choice(away), self.rng.randrange(1, self.plan.events + 1))
            if self.rng.random() < self.plan.killed / 4 and self.running and not self.protected:
                pid = self.rng.choice(list(self.running))
                self._killed.add(pid)
                self.result.visits_killed += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await trio.sleep(self.rng.uniform(0.05, 0.4))

    async def all_gone(self) -> None:
        """Wait until no visit runs."""
        with trio.fail_after(PATIENCE):
            while self.running:
                await trio.sleep(0.1)

    async def last_visits(self) -> None:
        """Each person publishes what is left, undisturbed."""
        for home in self.homes:
            while len(self.running) >= self.plan.at_once:
                await trio.sleep(0.05)
            await self.visit(home, 0)
        await self.all_gone()

    def acknowledged(self) -> set[bytes]:
        """The exact bytes of all reports that relays have taken."""
        found: set[bytes] = set()
        for home in self.homes:
            outbox = user_paths(home).outbox(self.namespace)
            if Path(outbox).exists():
                receipts = Journal(outbox).receipts(state=ACKNOWLEDGED)
                found.update(one.raw for one in receipts)
        return found


async def kill_services(network: Network, people: People, plan: Plan, rng: random.Random) -> None:
    """Kill a relay or an aggregator now and then, and start it again.

    A relay has reports in memory for half a second. So no visit is killed at that moment: each one
    hands its reports to the other relay, too.
    """
    while True:
        await trio.sleep(plan.kill_every * rng.uniform(0.7, 1.3))
        name = rng.choice(("r1", "a1"))
        people.protected = True
        await trio.sleep(2)
        if name == "a1" or rng.random() < 0.5:
            network.services[name].kill()
        else:
            await network.services[name].stop()
        people.result.kills[name] = people.result.kills.get(name, 0) + 1
        await trio.sleep(rng.uniform(0.2, 2))
        await network.start(name)
        await trio.sleep(4)
        people.protected = False


async def sample(network: Network) -> None:
    """Measure all services now and then."""
    while True:
        for name, series in network.series.items():
            series.take(network.services[name])
        await trio.sleep(SAMPLE)


async def soak(folder: Path, plan: Plan) -> Result:
    """Run the plan in an empty folder; raises AssertionError if a process ends by itself."""
    rng, result = random.Random(plan.seed), Result()
    network = Network(folder, load(sign(parse_source(SOURCE), SEED)))
    try:
        for name in ("r1", "r2", "a1", "a2"):
            await network.start(name)
        people = People(network, plan, rng, result)
        async with people.open(), trio.open_nursery() as sampling:
            sampling.start_soon(sample, network)
            with trio.move_on_after(plan.seconds):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(people.come_and_go)
                    nursery.start_soon(kill_services, network, people, plan, rng)
            for name in network.services:
                if not network.services[name].alive:
                    await network.start(name)
            await people.all_gone()
            await people.last_visits()
            await trio.sleep(5)
            sampling.cancel_scope.cancel()
        await finish(network, people, plan, result)
    finally:
        for service in network.services.values():
            service.kill()
    return result


async def finish(network: Network, people: People, plan: Plan, result: Result) -> None:
    """Stop everything, and compare what people sent with what is stored."""
    committed = {name: network.committed(name) for name in ("a1", "a2")}
    for name in ("r1", "r2", "a1", "a2"):
        await network.services[name].stop()
    assert not people.failed, f"visits ended by themselves: {people.failed}"
    one, two = network.stored("a1"), network.stored("a2")
    result.uncommitted = sum(
        max(0, committed[name] - len(found)) for name, found in (("a1", one), ("a2", two))
    )
    acknowledged = people.acknowledged()
    result.acknowledged, result.stored = len(acknowledged), len(one | two)
    result.lost = len(acknowledged - (one | two))
    for name in ("r2", "a2"):
        series = network.series[name]
        kept = series.after(min(plan.warm_up, plan.seconds / 3))
        result.slopes[name] = series.slope(min(plan.warm_up, plan.seconds / 3))
        result.descriptors[name] = kept[0][2], kept[-1][2]
        result.threads[name] = kept[0][3], kept[-1][3]
        result.memory[name] = kept[-1][1]
