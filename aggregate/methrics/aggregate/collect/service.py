"""The aggregator: joins topics, learns catalogs, stores accepted items, exports Parquet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace

import trio

from methrics.aggregate.closing.door import Door
from methrics.aggregate.closing.service import Closed, ClosingService
from methrics.aggregate.closing.trust import Trust
from methrics.aggregate.collect.clock_belief import PATIENCE, ClockBelief
from methrics.aggregate.collect.discovery import discovery_of, topics_told
from methrics.aggregate.collect.disk import KeepFree, watch_disk
from methrics.aggregate.collect.exchanges import Exchanges
from methrics.aggregate.collect.figures import Figures
from methrics.aggregate.collect.freshness import Freshness
from methrics.aggregate.collect.holding import Held, Resumed
from methrics.aggregate.collect.ingest import Ingest, IngestSettings
from methrics.aggregate.collect.keeper import (
    ExportFailed,
    Keeper,
    KeeperEvent,
    Upkeep,
    UpkeepFailed,
)
from methrics.aggregate.collect.reconciling import Reconciled, Reconciling
from methrics.aggregate.collect.reloading import Reloads, take_reloads
from methrics.aggregate.collect.status import Status
from methrics.aggregate.parquet.export import GRACE
from methrics.aggregate.reconcile.pacing import PacingSettings
from methrics.aggregate.store.batch import Batch, Committed, Expired
from methrics.aggregate.store.set_aside import DAMAGED
from methrics.aggregate.store.store import Store
from methrics.aggregate.store.tables import CatalogEntry
from methrics.node.clock import Clock, system_rng
from methrics.node.network.swarm import Swarm
from methrics.node.relay.given import Reloaded
from methrics.node.relay.record_state import record_states
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, RefusedError, StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn as add_to
from methrics.schema.judging.judge import Accepted, accept, judge
from methrics.schema.wire.record import Record
from methrics.schema.wire.topic import parse_topic

STATUS_EVERY = 10
"""Seconds between two looks at the state, and the time that peers have at the start to send
records. Records are looked at every second."""


@dataclass(frozen=True, slots=True)
class AggregatorSettings:
    """The topics and peers of an aggregator, and how often it exports."""

    topics: Collection[str] = ()
    """Topics to join besides those of `catalogs`; their catalogs come from the network."""
    catalogs: Sequence[Catalog] = ()
    records: Sequence[bytes] = ()
    """Namespace records to begin with, as exact bytes; newer ones come from the network."""
    peers: Sequence[str] = ()
    """Addresses to stay connected to."""
    export_every: float = 60.0
    """Seconds between two exports of the days that changed. With 0 only days that are over (UTC)
    are exported."""
    forget_within: float = 3600.0
    """Seconds after an erasure by which the erased bytes are gone from the DuckDB file. From the
    Parquet they go at the next export, and the files that had them after `grace`."""
    grace: float = GRACE
    """Seconds that a Parquet file stays after nothing names it any more, for readers that have just
    learnt its name."""
    steady: float = PATIENCE
    """Seconds for which the aggregator runs before it deletes by the clock: peers may contradict
    the clock first."""
    ingest: IngestSettings = field(default_factory=IngestSettings)
    """The sizes of the pipeline."""
    keep_free: KeepFree = field(default_factory=KeepFree)
    """The space on the disk below which nothing is accepted."""
    pacing: PacingSettings = field(default_factory=PacingSettings)
    """How often other aggregators are asked for what was missed."""
    reloads: Reloads | None = None
    """What the operator gives while the aggregator runs."""
    seed: bytes | None = None
    """The seed (32 bytes) of the peer key, which signs manifests; None signs none."""
    trust: Trust = field(default_factory=Trust)
    """The peers whose word counts about days that are over."""
    figures: Figures | None = None
    """Counts what the aggregator does, for the live endpoint."""
    freshness: Freshness = field(default_factory=Freshness)
    """Lets readers ask for an export."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The event that the aggregator joined a topic."""

    topic: str


Event = Joined | Closed | Committed | Held | KeeperEvent | Reconciled | Reloaded | Resumed | Status
Notify = Callable[[Event], None]


async def run_aggregator(
    swarm: Swarm,
    store: Store,
    settings: AggregatorSettings,
    clock: Clock,
    notify: Notify,
    stop: trio.Event,
) -> None:
    """Collect until `stop` is set, then commit and export the rest, and return.

    Without topics or catalogs in `settings`, it joins the topics of the catalogs in the file, and
    if there are none, those that a relay of `settings.peers` says it carries.
    `notify` is called in the trio thread for every event. Once it was called for a commit, the
    items of that commit are on disk. If the task is cancelled, it ends at once, and items that were
    not committed are lost.
    Raises ConfigError if there is no topic to join, StoreError if the file cannot be written. If
    the file is damaged, `damage_in` finds that error.
    """

    def told(event: Event) -> None:
        _count(event, figures, store)
        notify(event)
        if isinstance(event, ExportFailed | UpkeepFailed) and event.error.code == DAMAGED:
            raise event.error

    if not has_topics(settings, store.catalogs()) and settings.peers:
        found = await topics_told(swarm, settings.peers, clock, stop)
        if not found:
            return
        settings = replace(settings, topics=found)
    topics = topics_of(settings, store.catalogs())
    book = CatalogBook(topics)
    first = await trio.to_thread.run_sync(store.commit, _given(settings, book, clock.now()))
    fill(book, store)
    if first.catalogs or first.records:
        notify(first)

    async def learn(topic: str, bundle: bytes) -> object:
        return await ingest.validator(topic)("", bundle)

    discovery = discovery_of(swarm, settings.peers, topics, clock)
    await discovery.join()
    exchanges = Exchanges(swarm, book, topics, clock, learn)
    figures = settings.figures or Figures(store.path, store.directory, clock)
    ingest = Ingest(store, book, clock, told, settings.ingest, exchanges, told)
    figures.begin(store.total)
    figures.follow(lambda: ingest.statistics().queued, lambda: asdict(swarm.statistics()))
    upkeep = Upkeep(settings.export_every, settings.forget_within, settings.grace)
    belief = ClockBelief(store, clock, settings.steady)
    keeper = Keeper(
        *(store, clock, told, upkeep, figures, settings.freshness),
        exchanges.doubts_clock,
        belief.allows,
    )
    door = Door(store, clock, settings.trust, skew=lambda: exchanges.skew)
    closing = ClosingService(
        *(swarm, door, book, topics, settings.seed, system_rng(), ingest.take), belief.believes
    )
    reconciling = Reconciling(
        swarm, store, book, topics, clock, door, ingest, learn, told, settings.pacing
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        nursery.start_soon(exchanges.run)
        nursery.start_soon(discovery.run)
        nursery.start_soon(watch_disk, store.path.parent, settings.keep_free, ingest)
        nursery.start_soon(closing.run, told)
        nursery.start_soon(reconciling.run)
        if settings.reloads is not None:
            nursery.start_soon(take_reloads, settings.reloads, ingest, book, clock, notify)
        nursery.start_soon(_watch, swarm, book, topics, clock, exchanges, belief, told)
        await _listen(swarm, ingest, topics, settings.peers, notify, stop)
        nursery.cancel_scope.cancel()
    await keeper.export()
    keeper.close()


def _count(event: Event, figures: Figures, store: Store) -> None:
    """Let the figures know of an event."""
    if isinstance(event, Committed):
        figures.committed(event)
    elif isinstance(event, Held | Resumed):
        figures.held(event)
    elif isinstance(event, Status):
        figures.noted(event)
    elif isinstance(event, Closed):
        figures.closed(event)
    elif isinstance(event, Reconciled):
        if not event.of:
            figures.compared(str(event.peer), event.app, lacking=event.fetched, equal=event.same)
    elif isinstance(event, Expired):
        figures.begin(store.total)


async def _listen(
    swarm: Swarm,
    ingest: Ingest,
    topics: Collection[str],
    peers: Iterable[str],
    notify: Notify,
    stop: trio.Event,
) -> None:
    """Judge and commit what is heard on the topics until `stop` is set, and all of it by then."""
    async with trio.open_nursery() as writing:
        writing.start_soon(ingest.run)
        for topic in sorted(topics):
            await swarm.join(topic, ingest.validator(topic))
            notify(Joined(topic))
        for peer in peers:
            swarm.keep(peer)
        await stop.wait()
        ingest.close()


def damage_in(error: BaseException) -> StoreError | None:
    """Return the error about a damaged file inside `error`, if there is one."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(damage_in, error.exceptions)), None)
    return error if isinstance(error, StoreError) and error.code == DAMAGED else None


def has_topics(settings: AggregatorSettings, stored: Iterable[CatalogEntry]) -> bool:
    """Whether the operator, or the catalogs `stored`, say what to collect."""
    return bool(settings.topics or settings.catalogs or [*stored])


def topics_of(settings: AggregatorSettings, stored: Iterable[CatalogEntry]) -> set[str]:
    """Return the topics to join: those of `settings`, or if it has none, those of the catalogs
    `stored`.

    Raises ConfigError, code no-topic or bad-topic.
    """
    topics = set(settings.topics) | {catalog.topic for catalog in settings.catalogs}
    topics = topics or {entry.topic for entry in stored}
    if not topics:
        raise ConfigError(
            "no-topic",
            "there is nothing to collect",
            "give a --catalog, a --topic, or the address of a relay as --peer",
        )
    for topic in topics:
        try:
            parse_topic(topic)
        except RefusedError:
            raise ConfigError(
                "bad-topic", f"{topic} is no topic", "it looks like /methrics/1/label-key/cbor"
            ) from None
    return topics


def _given(settings: AggregatorSettings, book: CatalogBook, now: int) -> Batch:
    """Add to `book` what the operator gives, and return it for the first commit.

    Raises ConfigError, code record-refused, for a record of no topic that is joined.
    """
    given: list[Accepted] = []
    for raw in settings.records:
        verdict = judge(raw, book, now)
        if not isinstance(verdict, Accepted) or not isinstance(verdict.body, Record):
            raise ConfigError(
                "record-refused", f"a given record is refused: {verdict.reason.value}"
            )
        add_to(verdict, book)
        given.append(verdict)
    for catalog in settings.catalogs:
        given.append(accept(catalog.raw, book, now, live=False))
        book.add(catalog, given=True)
    return Batch(now, given)


def fill(book: CatalogBook, store: Store) -> None:
    """Add the records in the file to `book`, and those catalogs that the newest of them list.

    The others are read from the file when an item names them: there may be a thousand.
    """
    records = [one for one in store.records() if book.allows_key(one.item.key)]
    for one in records:
        book.records.add(*one)
    for key in {one.item.key for one in records}:
        newest = book.records.newest(key)
        for listing in newest.record.catalogs if newest else ():
            catalog = store.catalog(listing.catalog)
            if catalog is not None:
                book.add(catalog)


async def _watch(
    swarm: Swarm,
    book: CatalogBook,
    topics: Collection[str],
    clock: Clock,
    exchanges: Exchanges,
    belief: ClockBelief,
    notify: Callable[[Status], None],
) -> None:
    """Notify of the aggregator's state whenever it has changed, until cancelled."""
    before: list[str] = []
    states = record_states(book, topics)
    while True:
        for _ in range(STATUS_EVERY):
            await trio.sleep(1)
            if record_states(book, topics) != states:
                break
        states = record_states(book, topics)
        counts = swarm.statistics()
        status = Status(
            clock.now(),
            tuple(states),
            counts.waiting,
            counts.waiting_dropped,
            exchanges.skew,
            exchanges.clock_jumped(),
            belief.line,
        )
        if [*status.lines()] != before:
            before = [*status.lines()]
            notify(status)
