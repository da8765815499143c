"""A person with an app, a clock that tests set, and a route that records what leaves."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import trio
from tests.listing import record_of

import methrics.schema
from methrics.node.clock import Clock
from methrics.node.consent.ledger import grant, withdraw
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import DAY
from methrics.node.paths import Paths, namespace_of, user_paths
from methrics.node.process.worker import inline
from methrics.node.publish.entry import Entry
from methrics.node.publish.leaving import HeldError
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.publish.results import PassResult
from methrics.node.publish.routes import Fate, Outcome, Outgoing, Route
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source

EXAMPLE = Path(methrics.schema.__file__).parent / "example" / "example.toml"
CATALOG = load(sign(parse_source(EXAMPLE.read_text("utf-8")), b"s" * 32))
TOPIC = CATALOG.topic
NAMESPACE = namespace_of(CATALOG.label, CATALOG.short_key)
BASE = 1_800_000_000
RECORD = record_of(CATALOG, seed=b"s" * 32)
RELAY = PublisherSettings(entry=Entry(relays=("/ip4/192.0.2.7/tcp/1/p2p/12D3KooW",)), once=True)


class DayClock(Clock):
    """Wall time that moves with the simulated clock, and that a test may set forward or back."""

    def __init__(self) -> None:
        self.shift = 0

    def now(self) -> int:
        return BASE + self.shift + int(trio.current_time())


class Wire:
    """A route that answers what a test says, and keeps what it was given."""

    name = "relay"

    def __init__(self, *fates: Fate, reason: str = "ok") -> None:
        self.fates = list(fates)
        self.reason = reason
        self.outgoing: list[Outgoing] = []
        self.again = 0
        """Seconds for which a relay wants to be left alone."""
        self.opened = 0
        self.relays: list[tuple[bytes, ...]] = [(RECORD.raw,)]
        """For each relay that answers, its records."""
        self.asked: list[tuple[bytes, ...]] = []
        self.before: Callable[[], object] = lambda: None

    @property
    def sent(self) -> list[bytes]:
        return [raw for outgoing in self.outgoing for _, raw in outgoing.items]

    async def records(self, topic: str, known: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        self.asked.append(tuple(known))
        return list(self.relays)

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        self.before()
        try:
            going = await outgoing.leave([item_id for item_id, _ in outgoing.items])
        except HeldError:
            return {}
        if not outgoing.items:
            return {}
        items = tuple(item for item in outgoing.items if item[0] in going)
        self.outgoing.append(replace(outgoing, items=items))
        fate = self.fates.pop(0) if self.fates else Fate.ACKNOWLEDGED
        return {item_id: Outcome(fate, self.reason, self.again) for item_id in going}

    def open(self) -> AbstractAsyncContextManager[Route]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Route]:
            self.opened += 1
            yield self

        return opened()


class Person:
    """Someone with an app: a home, a clock, consent and an outbox."""

    def __init__(self, home: Path, catalog: Catalog = CATALOG) -> None:
        self.catalog = catalog
        self.paths: Paths = user_paths(home)
        self.clock = DayClock()
        self.passes: list[PassResult] = []

    def agree(self, *types: str, **changes: object) -> None:
        grant(self.paths, NAMESPACE, types, now=self.clock.now(), **changes)  # type: ignore[arg-type]

    def refuse(self, *types: str) -> None:
        withdraw(self.paths, NAMESPACE, types, now=self.clock.now())

    def record(self, type_name: str = "heartbeat", **values: object) -> bool:
        settings = RecorderSettings(publisher="none", strict=True)
        with Recorder(self.catalog, self.paths, settings, clock=self.clock) as recorder:
            return recorder.record(type_name, **(values or {"os": "linux"}))

    @property
    def journal(self) -> Journal:
        return Journal(self.paths.outbox(NAMESPACE), clock=self.clock)

    def states(self) -> dict[str, int]:
        journal = self.journal
        found = Counter(receipt.state for receipt in journal.receipts())
        journal.close()
        return dict(found)

    async def publish(self, wire: Wire, settings: PublisherSettings = RELAY, seed: int = 1) -> int:
        return await run_publisher(
            self.paths,
            NAMESPACE,
            settings,
            clock=self.clock,
            rng=random.Random(seed),
            open_route=wire.open,
            worker=inline,
            on_pass=self.passes.append,
            timing=random.Random(seed).random,
        )


LONG = 15 * DAY
"""Seconds after which whatever the example catalog declares is due, and none of it late."""
