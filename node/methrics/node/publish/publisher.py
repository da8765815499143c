"""The publisher: the process, task or thread that sends the reports and erasures of an outbox.

The recorder starts a process (`python -m methrics.node.publisher`) when a report is due; the
process ends when no report is due soon. A trio app may run `keep_publishing` as a task, and any
other app may call `start_thread`; both continue for as long as the app runs. A lock makes sure that
only one publisher at a time works on an outbox.

Exit codes: 0 if the work is done, there is no work, or another publisher is running; 3 if there is
a problem on this machine (a full disk, a wrong setting); 4 if no relay accepted the due reports.
Other problems do not end a publisher: it counts them, logs them once, and tries again later.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from methrics.node.clock import Clock, Entropy, Rng, system_entropy, system_rng
from methrics.node.consent.known_hops import save_hops
from methrics.node.outbox.erasures import Erasures
from methrics.node.outbox.handed import HandedBoxes
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.records import Records
from methrics.node.outbox.rows import VISIT_MAX
from methrics.node.paths import Paths
from methrics.node.process.exits import quiet_logger
from methrics.node.process.lock import FileLock
from methrics.node.process.worker import Threads, Worker
from methrics.node.publish.child import reachable
from methrics.node.publish.delivery import DIRECT, Delivery, OpenRoute
from methrics.node.publish.doors.opening import open_doors
from methrics.node.publish.entries import Offer
from methrics.node.publish.entry import Entry, entry_peers, is_url
from methrics.node.publish.kept_entry import EntryFile
from methrics.node.publish.listing import Listing
from methrics.node.publish.own_relays import own_relays
from methrics.node.publish.pass_words import finding
from methrics.node.publish.permission import consent_of
from methrics.node.publish.results import PassResult
from methrics.node.publish.routes import Findings, Route
from methrics.node.publish.schedule import GAP
from methrics.node.publish.status import write_status
from methrics.node.publish.turns import DirectTurns, Turns, VisitTurns
from methrics.node.publish.way_route import WayRoute
from methrics.node.publish.ways import names_of
from methrics.node.report.epsilon import epsilon_meter
from methrics.node.report.route_names import ROUTES
from methrics.node.report.threshold.keeping import threshold_meter
from methrics.schema.errors import ConfigError, LocalError, MethricsError, StoreError

OK, LOCAL, NETWORK = 0, 3, 4

POLL = 60.0
"""Most seconds for which a publisher waits before it reads the outbox again."""

LOCK_TRIES, LOCK_STEP = 5, 0.05
"""How often a starting publisher tries to acquire the lock, and the seconds between two attempts.
One attempt is not enough: `is_held` acquires the lock for a moment to check whether a publisher
runs."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """The settings of one publisher."""

    route: str = "relay"
    """relay or direct. Reports of a type are sent only over a route that the person allowed."""
    entry: Entry = field(default_factory=Entry)
    """The relays or peers that get the reports."""
    once: bool = False
    """Whether to make one pass now, and then end."""
    idle: float = 300.0
    """The publisher ends if the next pass is not within this many seconds. It does not end sooner,
    because each start costs a second of processor time."""
    poll: float = POLL
    """Most seconds for which the publisher waits before it reads the outbox again."""
    gap: tuple[float, float] = GAP
    """Least and most seconds from one visit to an entry to the next; only tests and demos replace
    them."""

    @property
    def known(self) -> int:
        """How many relays, or for the route direct peers, the person knows: by their names, because
        a relay may have several addresses."""
        return len(names_of(self.entry.peers if self.route == "direct" else self.entry.relays))

    @property
    def offer(self) -> Offer:
        """The addresses from which an entry may be drawn. Without the packages of libp2p, these
        are the URLs among them, if there are any."""
        named = self.entry.relays
        light = all(map(is_url, reachable(named) or named))
        if self.entry.by_app:
            return Offer(app=named, urls_only=light)
        return Offer(user=named, urls_only=light)

    def check(self) -> None:
        """Raises ConfigError if the route is unknown, if it has no relay or no peer to use, or if
        the gap between visits is impossible."""
        if self.route not in ROUTES:
            raise ConfigError(
                "unknown-route", f"no such route: {self.route}", f"one of {', '.join(ROUTES)}"
            )
        if self.route == "relay" and not self.entry.relays:
            raise ConfigError(
                "no-relay",
                "no relay is known, so nothing can be sent",
                "set METHRICS_RELAYS, or give --relay ADDRESS",
            )
        if self.route == "direct" and not self.entry.peers:
            raise ConfigError(
                "no-peer",
                "no peer is known, so nothing can be sent directly",
                "set METHRICS_PEERS, or give --peer ADDRESS",
            )
        if not 0 <= self.gap[0] <= self.gap[1] <= VISIT_MAX:
            raise ConfigError(
                "bad-gap", "the gap between two visits is wrong", f"0 to {VISIT_MAX} seconds"
            )


def network_route(
    paths: Paths,
    settings: PublisherSettings,
    findings: Findings,
    *,
    clock: Clock,
    rng: random.Random,
    worker: Worker,
) -> OpenRoute:
    """Return a function that opens the route over the network, with a new host key and peer id for
    each pass. `findings` is filled by each route."""
    keep = EntryFile(paths, clock.sleep)

    @asynccontextmanager
    async def open_direct() -> AsyncIterator[Route]:
        from methrics.node.network.libp2p import open_swarm
        from methrics.node.publish.direct_route import DirectRoute

        async with open_swarm() as swarm:
            yield DirectRoute(swarm, settings.entry.peers, unusable=findings.unusable)

    @asynccontextmanager
    async def open_ways() -> AsyncIterator[Route]:
        offer = settings.offer
        async with open_doors(libp2p=not offer.urls_only) as doors:
            yield WayRoute(
                doors, offer, keep, clock=clock, rng=rng, worker=worker, findings=findings
            )

    return open_direct if settings.route == "direct" else open_ways


async def run_publisher(
    paths: Paths,
    namespace: str,
    settings: PublisherSettings,
    *,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    open_route: OpenRoute | None = None,
    worker: Worker | None = None,
    on_pass: Callable[[PassResult], None] | None = None,
    entropy: Entropy = system_entropy,
    timing: Rng | None = None,
) -> int:
    """Send the due reports and erasures of `namespace` until nothing is to be done soon; return the
    exit code.

    `open_route` replaces the network in tests. `entropy` draws the salts of the keys, `timing` the
    times of the visits, `rng` all else; only simulations replace them. `on_pass` is called with the
    result of every pass. May be cancelled at any point; a later publisher continues where this one
    stopped. Raises ConfigError if `settings.check` fails.
    """
    settings.check()
    clock = clock or Clock()
    rng = rng or random.SystemRandom()
    worker = worker or Threads(1)
    lock = FileLock(paths.publisher_lock(namespace))
    journal = Journal(paths.outbox(namespace), clock=clock)
    if not journal.exists():
        return OK
    try:
        for left in reversed(range(LOCK_TRIES)):
            if lock.try_acquire():
                break
            if not left:
                return OK
            await trio.sleep(LOCK_STEP)
    except OSError as error:
        raise StoreError(
            "outbox-read-only", f"cannot lock {lock.path}: {error.strerror}", "set METHRICS_HOME"
        ) from error
    findings = Findings()
    delivery = Delivery(
        journal,
        Erasures(journal),
        HandedBoxes(journal),
        Listing(Records(journal), lambda: findings.sources or settings.known, clock),
        consent_of(paths, namespace, settings.route, clock),
        open_route or network_route(paths, settings, findings, clock=clock, rng=rng, worker=worker),
        settings.route,
        clock=clock,
        rng=rng,
        worker=worker,
        meter=lambda: epsilon_meter(journal, threshold_meter(paths, namespace)),
        entropy=entropy,
        looks=settings.once,
    )
    turns: Turns = (
        DirectTurns(journal, clock, settings)
        if settings.route == DIRECT
        else VisitTurns(journal, clock, settings, timing or system_rng())
    )
    try:
        tell = partial(_tell, paths, namespace, findings, on_pass)
        return await _passes(delivery, turns, settings, worker, tell)
    finally:
        journal.close()
        lock.release()


def _tell(
    paths: Paths,
    namespace: str,
    findings: Findings,
    on_pass: Callable[[PassResult], None] | None,
    result: PassResult,
) -> None:
    """Pass on the result of a pass, and note for the app what was wrong in it, and who runs the
    relays."""
    result.unusable.update(findings.unusable)
    findings.unusable.clear()
    result.way = findings.note
    if findings.hops is not None:
        save_hops(paths, namespace, findings.hops)
    if on_pass is not None:
        on_pass(result)
    if (line := finding(result)) is not None:
        write_status(paths, namespace, line)


async def _passes(
    delivery: Delivery,
    turns: Turns,
    settings: PublisherSettings,
    worker: Worker,
    tell: Callable[[PassResult], None],
) -> int:
    logged: set[str] = set()
    code = OK
    try:
        while True:
            if settings.once or await worker(turns.due):
                await worker(turns.begin)
                result = await delivery.publish_due()
                await worker(partial(turns.end, result))
                tell(result)
                if result.failed is not None and result.failed.code not in logged:
                    logged.add(result.failed.code)
                    _log.warning("%s", result.failed)
                code = exit_code(result)
                if settings.once or isinstance(result.failed, LocalError):
                    return code
            wait = await worker(turns.wait)
            if wait is None:
                return code
            await trio.sleep(wait)
    except StoreError as error:
        _log.warning("%s", error)
        return LOCAL


def exit_code(result: PassResult) -> int:
    """Return the exit code of a publisher whose last pass had this result."""
    if isinstance(result.failed, LocalError):
        return LOCAL
    held = result.postponed or result.waiting
    taken = result.acknowledged or result.handed
    if result.failed is not None or result.visited is False or (held and not taken):
        return NETWORK
    return OK


def with_entry(
    paths: Paths,
    namespace: str,
    settings: PublisherSettings | None,
    relays: Sequence[str] = (),
) -> PublisherSettings:
    """Return the settings, with the relays and peers that `keep_publishing` describes unless they
    name some. Raises ConfigError as `entry_peers` does."""
    settings = settings or PublisherSettings()
    if settings.entry.relays or settings.entry.peers:
        return settings
    default = tuple(relays) or own_relays(namespace)
    return replace(settings, entry=entry_peers(paths, default_relays=default))


async def keep_publishing(
    paths: Paths,
    namespace: str,
    settings: PublisherSettings | None = None,
    *,
    relays: Sequence[str] = (),
    clock: Clock | None = None,
    rng: random.Random | None = None,
    open_route: OpenRoute | None = None,
    worker: Worker | None = None,
) -> None:
    """Run the publisher again and again until cancelled, as a task of a trio app.

    Without `settings`, or if `settings.entry` is empty, the user's relays and peers are read before
    each run (entry.py), so that the user may name them later. If the user names no relay, `relays`
    are used, or else those that the app gave to `methrics.node.open`. No error is raised into the
    app: each kind of error is logged once, and the publisher runs again after `settings.poll`
    seconds.
    """
    logged: set[str] = set()
    quiet_logger()
    while True:
        poll = POLL if settings is None else settings.poll
        try:
            await run_publisher(
                paths,
                namespace,
                with_entry(paths, namespace, settings, relays),
                clock=clock,
                rng=rng,
                open_route=open_route,
                worker=worker,
            )
        except Exception as error:  # noqa: BLE001 - an app must not fail because it is measured
            code = error.code if isinstance(error, MethricsError) else type(error).__name__
            if code not in logged:
                logged.add(code)
                _log.warning("nothing is published: %s", error)
        await trio.sleep(poll)


def start_thread(
    paths: Paths, namespace: str, settings: PublisherSettings | None = None
) -> threading.Thread:
    """Start a background thread that runs `keep_publishing` (with `settings.once`, one pass). The
    thread does not keep the process from ending.

    The thread loads libp2p into the app's process when it sends a report, so a separate process is
    the better default. Relays and peers as for `keep_publishing`. Raises ConfigError if
    `settings.check` fails.
    """
    if settings is not None:
        with_entry(paths, namespace, settings).check()

    def run() -> None:
        if settings is None or not settings.once:
            trio.run(keep_publishing, paths, namespace, settings)
            return
        try:
            trio.run(run_publisher, paths, namespace, with_entry(paths, namespace, settings))
        except MethricsError as error:
            _log.warning("%s", error)

    thread = threading.Thread(target=run, name="methrics-publisher", daemon=True)
    thread.start()
    return thread
