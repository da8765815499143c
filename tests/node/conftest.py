"""A small signed catalog, a clock moved by hand, and a recorder that may or may not record."""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio

import methrics.node
from methrics.node.clock import ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.consent.switch import RECHECK
from methrics.node.outbox.journal import Journal
from methrics.node.paths import Paths, user_paths
from methrics.node.process.worker import inline
from methrics.node.publish.entry import Entry
from methrics.node.publish.leaving import HeldError
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.publish.results import PassResult
from methrics.node.publish.routes import Fate, Outcome, Outgoing, Route
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.errors import UnreachableError
from methrics.schema.wire.envelope import Item, Kind, split
from methrics.schema.wire.limits import LISTED_MAX, TIME_MAX
from methrics.schema.wire.record import sign_record

sys.path.insert(0, str(Path(__file__).parent))  # modules that several tests share

NOW = 1_800_000_123

HEAD = """
[catalog]
label = "shop"
contact = "https://example.org/shop"
results = "https://example.org/shop/results"
"""
TYPE = """
[types.{name}]
kind = "{kind}"
question = "What is asked?"
why = "It is needed for a test."
owner = "Test"
review = "https://example.org/review"
expires = 2030-01-01
retention_days = 30
entropy_bits = 28
chart = "bar:color"
{extra}
[types.{name}.release]
delay = 300
jitter = 600
{every}
[types.{name}.fields.color]
type = "enum"
values = ["red", "green"]
says = "Which color you chose."
[types.{name}.fields.size]
type = "bucket"
edges = [10, 100]
unit = "cm"
says = "Roughly how large it is."
[types.{name}.fields.version]
type = "version"
max = [9, 9]
says = "Which version you use."
"""
FIRST = """
[types.visit.fields.daily]
type = "flag"
source = "first_of_day"
says = "Whether it is your first today."
"""
COUNT = "[types.click.count]\nmax = 1000\nwindow = 86400\n"
STEPS = """
[types.buy.sequence]
steps = ["shown", "paid", "left"]
offset_edges = [5, 60]
max_steps = 4
"""


def _declared() -> str:
    sampled = "one_in = [1, 10]"
    return "".join(
        (
            HEAD,
            TYPE.format(name="buy", kind="sequence", extra="", every="") + STEPS,
            TYPE.format(name="click", kind="count", extra="", every="") + COUNT,
            TYPE.format(name="view", kind="event", extra=sampled, every=""),
            TYPE.format(name="visit", kind="state", extra="", every="every = [86400, 172800]")
            + FIRST,
        )
    )


@pytest.fixture(scope="session")
def shop() -> Catalog:
    """A catalog with one type of each kind: view (event), click (count), visit (state), buy."""
    return load(sign(parse_source(_declared()), bytes(32)), verify=False)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return user_paths(tmp_path / "home", policy=str(tmp_path / "policy.json"))


class Shop:
    """A recorder of the shop, the answers of its user, and its outbox."""

    def __init__(self, catalog: Catalog, paths: Paths, clock: ManualClock) -> None:
        self.catalog = catalog
        self.paths = paths
        self.clock = clock
        self.recorder = self.open()
        self.namespace = self.recorder.namespace
        self._records: list[Item] = []
        self._listed: list[bytes] = []

    def open(self, **options: object) -> methrics.node.Recorder:
        options = {
            "home": self.paths.home,
            "policy": self.paths.policy,
            "clock": self.clock,
            "publisher": "none",
            **options,
        }
        return methrics.node.open(self.catalog.raw, **options)  # type: ignore[arg-type]

    def record(self) -> bytes:
        """The record of the namespace, which lists the catalog and those before it."""
        if self.catalog.id not in self._listed:
            self._listed.append(self.catalog.id)
            self._records.append(
                sign_record(
                    self._listed[-LISTED_MAX:],
                    bytes(32),
                    time=len(self._records),
                    expires=TIME_MAX,
                    previous=[one.id for one in self._records[-1:]],
                )
            )
        return self._records[-1].raw

    def allow(
        self,
        *types: str,
        fields: Iterable[str] | None = None,
        routes: Sequence[str] = ("relay",),
    ) -> None:
        """Writes the user's yes; every recorder reads it at once."""
        chosen = None if fields is None else list(fields)
        names = types or self.catalog.types
        grant(self.paths, self.namespace, names, fields=chosen, now=NOW, routes=routes)
        self.clock.advance(RECHECK)

    @property
    def journal(self) -> Journal:
        return Journal(self.paths.outbox(self.namespace), clock=self.clock)


@pytest.fixture
def app(shop: Catalog, paths: Paths, clock: ManualClock) -> Shop:
    return Shop(shop, paths, clock)


class Post:
    """A route that acknowledges all items, or gives the answers that a test sets, and keeps
    them."""

    name = "relay"

    def __init__(self, app: Shop) -> None:
        self.app = app
        self.opened: list[list[bytes]] = []
        """For each connection, the items handed over by it."""
        self.fate = Fate.ACKNOWLEDGED
        self.cut = False
        """Whether no connection can be made."""
        self.progress = True
        self.before: Callable[[], object] = lambda: None

    @property
    def sent(self) -> list[bytes]:
        return [raw for items in self.opened for raw in items]

    @property
    def erasures(self) -> list[bytes]:
        return [raw for raw in self.sent if split(raw).kind is Kind.ERASURE]

    async def records(self, topic: str, known: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        return [(self.app.record(),)]

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        try:
            going = await outgoing.leave([item_id for item_id, _ in outgoing.items])
        except HeldError:
            return {}
        self.before()
        self.opened[-1] += [raw for item_id, raw in outgoing.items if item_id in going]
        return {item_id: Outcome(self.fate, "ok") for item_id in going}

    def open(self) -> AbstractAsyncContextManager[Route]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Route]:
            if self.cut:
                raise UnreachableError("unreachable", "no network")
            self.opened.append([])
            yield self

        return opened()

    def publish(self, passes: int = 1, *, route: str = "relay", seed: int = 1) -> list[PassResult]:
        """That many passes of the publisher, one after the other at the same moment."""
        rng, done = random.Random(seed), list[PassResult]()
        address = ("/ip4/192.0.2.7/tcp/1/p2p/12D3KooW",)
        settings = PublisherSettings(route, Entry(relays=address, peers=address), once=True)
        for _ in range(passes):
            trio.run(
                lambda: run_publisher(
                    self.app.paths,
                    self.app.namespace,
                    settings,
                    clock=self.app.clock,
                    rng=rng,
                    open_route=self.open,
                    worker=inline,
                    on_pass=done.append,
                )
            )
        return done

    def live(self, seconds: int, *, route: str = "relay") -> None:
        """Moves the clock forward, with a pass of the publisher whenever one is due."""
        clock, journal, passes = self.app.clock, self.app.journal, 0
        end = clock.now() + seconds
        while (due := journal.next_due()) is not None and due <= end:
            clock.advance(max(1 if self.progress else 600, due - clock.now()))
            before = len(self.sent)
            self.publish(route=route, seed=passes)
            self.progress, passes = len(self.sent) > before, passes + 1
        clock.advance(max(0, end - clock.now()))
        journal.close()


@pytest.fixture
def post(app: Shop) -> Post:
    return Post(app)
