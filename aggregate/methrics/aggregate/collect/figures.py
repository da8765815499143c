"""Counts what a running aggregator does, for `methrics status` and for metrics. No network.

The parts of an aggregator report to one `Figures`; `snapshot` gives all numbers at one moment. They
name no report and no address; a peer that is an aggregator is named by its peer id.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from methrics.aggregate.closing.service import Closed
from methrics.aggregate.collect.disk_use import DiskUse, size_of
from methrics.aggregate.collect.holding import Held, Resumed
from methrics.aggregate.collect.status import Status
from methrics.aggregate.store.batch import Committed
from methrics.node.clock import Clock

EDGES = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper edges of the classes in which durations are counted, in seconds."""

MINUTE = 60
"""Seconds over which the rate of stored reports is measured."""

COMPARED_MAX = 256
"""Maximum number of comparisons that are kept, one for each aggregator and app; the oldest makes
room."""


@dataclass(slots=True)
class Durations:
    """How long an action took, in seconds: the sum, the last, and counts by class."""

    count: int = 0
    total: float = 0.0
    last: float = 0.0
    most: float = 0.0
    classes: list[int] = field(default_factory=lambda: [0] * len(EDGES))
    """Number of actions that took at most the edge of `EDGES` with the same index."""

    def add(self, seconds: float) -> None:
        """Count an action that took `seconds`."""
        self.count += 1
        self.total += seconds
        self.last = seconds
        self.most = max(self.most, seconds)
        for i, edge in enumerate(EDGES):
            self.classes[i] += seconds <= edge


@dataclass(frozen=True, slots=True)
class Difference:
    """How the data of another aggregator differed when the two last compared."""

    peer: str
    """The other's peer id."""
    at: int
    """When they compared, in Unix seconds."""
    equal: bool
    """Whether both had the same reports, of all apps that were compared."""
    lacking: int
    """Items that the other had, and this one asked for."""
    lag: int
    """Seconds since both were known to be equal; since the start, if they never were."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All figures of an aggregator at one moment. Counts begin with the process."""

    now: int
    """Unix seconds."""
    started: int
    """Unix seconds."""
    file: str
    """The name of the DuckDB file, without its folder."""
    reports: int
    """Reports in the data set."""
    rate: float
    """Reports stored per second over the last minute."""
    counts: Mapping[str, int]
    """Items by what happened to them: `reports` (stored), `duplicates`, `erased`, ..."""
    refused: Mapping[str, int]
    """Items refused, by reason."""
    commits: Mapping[str, Any]
    """`Durations` of commits."""
    checkpoints: Mapping[str, Any]
    """`Durations` of those commits that also merged the log into the file."""
    exports: Mapping[str, Any]
    """`Durations` of exports, with `written` (Unix seconds, 0 if none), and `failed` (the sentence
    of the last one if it failed, or null)."""
    queue: Mapping[str, int]
    """`bundles`: judged ones that wait for the writer. `waiting`: bundles that wait for a record or
    a catalog. `waiting_dropped`: those that waited in vain."""
    network: Mapping[str, int]
    """The counts of the swarm: connections, messages by verdict, bytes."""
    records: Sequence[Mapping[str, Any]]
    """The state of the newest record of each namespace."""
    clock: Mapping[str, Any] | None
    """By how much the machine's clock is probably wrong, or null."""
    jumped: str
    """What to say about a clock that has jumped; empty if it has not."""
    held: Mapping[str, str]
    """Why nothing is accepted now: cause (`disk`, `store`) -> a sentence. Empty if all is well."""
    disk: Mapping[str, int]
    """Bytes: `file`, `log`, `parquet`, and what is `free` on the file's disk."""
    aggregators: Sequence[Mapping[str, Any]]
    """A `Difference` for each aggregator that this one compared itself with."""
    queries: Mapping[str, Any]
    """Questions to the live endpoint: `Durations`, with counts by outcome in `outcomes`."""
    closed: Mapping[str, Any]
    """Days that are over: `contested` reports, those that found no room (`contested_dropped`),
    requests for manifests that got no reply (`unanswered`, by reason), and the `coverage` of this
    aggregator and of those whose manifests it has."""


class Figures:
    """The figures of one aggregator. All methods are for one thread."""

    def __init__(self, path: Path, parquet: Path, clock: Clock) -> None:
        self._path = path
        self.disk = DiskUse(path, parquet)
        self._clock = clock
        self._started = clock.now()
        self._total = 0
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._commits, self._checkpoints, self._exports = Durations(), Durations(), Durations()
        self._queries = Durations()
        self._outcomes: Counter[str] = Counter()
        self._written = 0
        self._failed: str | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._log = 0
        self._status = Status(self._started)
        self._others: dict[tuple[str, str], tuple[int, int, int, bool]] = {}
        """peer, app -> (when they compared, when both were equal, lacking, equal)"""
        self._closed = Closed()
        self._held: dict[str, str] = {}
        self._queued: Callable[[], int] = lambda: 0
        self._network: Callable[[], Mapping[str, int]] = dict

    def follow(self, queued: Callable[[], int], network: Callable[[], Mapping[str, int]]) -> None:
        """Ask `queued` for the number of bundles that wait for the writer, and `network` for the
        counts of the swarm, at each snapshot."""
        self._queued, self._network = queued, network

    def begin(self, total: int) -> None:
        """Note the number of reports in the file at the start."""
        self._total = total

    def committed(self, done: Committed) -> None:
        """Count a commit."""
        self._total = done.total
        self._counts.update(done.counts())
        self._refused.update({reason.value: count for reason, count in done.reasons.items()})
        self._commits.add(done.seconds)
        log = size_of(Path(f"{self._path}.wal"))
        if log < self._log:
            self._checkpoints.add(done.seconds)
        self._log = log
        self._recent.append((self._clock.monotonic(), done.reports))

    def exported(self, seconds: float, failed: str | None = None) -> None:
        """Count an export that took `seconds`; `failed` is the error, if it failed."""
        self._failed = failed
        if failed is None:
            self._written = self._clock.now()
            self._exports.add(seconds)

    def noted(self, status: Status) -> None:
        """Keep the newest state of records and of the clock."""
        self._status = status

    def held(self, event: Held | Resumed) -> None:
        """Note that nothing is accepted, for a cause, or that this cause is gone."""
        if isinstance(event, Held):
            self._held[event.cause] = event.message
        else:
            self._held.pop(event.cause, None)

    def closed(self, event: Closed) -> None:
        """Keep the newest state of closed days."""
        self._closed = event

    def compared(self, peer: str, app: str, *, lacking: int, equal: bool) -> None:
        """Keep how another aggregator differed about an app; the newest comparison counts."""
        now, about = self._clock.now(), (peer, app)
        before = self._others.pop(about, (0, self._started, 0, False))
        self._others[about] = now, now if equal else before[1], lacking, equal
        while len(self._others) > COMPARED_MAX:
            del self._others[next(iter(self._others))]

    def _differences(self) -> Iterator[Difference]:
        """Yield the difference of each other aggregator, over all apps that were compared."""
        peers: dict[str, list[tuple[int, int, int, bool]]] = {}
        for (peer, _), one in self._others.items():
            peers.setdefault(peer, []).append(one)
        for peer, found in peers.items():
            at, last, lacking, equal = zip(*found, strict=True)
            lag = self._clock.now() - min(last)
            yield Difference(peer, max(at), all(equal), sum(lacking), lag)

    def answered(self, outcome: str, seconds: float) -> None:
        """Count a question to the live endpoint by its outcome."""
        self._outcomes[outcome] += 1
        self._queries.add(seconds)

    def _rate(self) -> float:
        now = self._clock.monotonic()
        while self._recent and self._recent[0][0] <= now - MINUTE:
            self._recent.popleft()
        age = max(1, min(MINUTE, self._clock.now() - self._started))
        return sum(count for _, count in self._recent) / age

    def snapshot(self) -> Snapshot:
        """Return all figures as of now; those of the disk as of `disk.measure`."""
        status, network = self._status, dict(self._network())
        return Snapshot(
            now=self._clock.now(),
            started=self._started,
            file=self._path.name,
            reports=self._total,
            rate=round(self._rate(), 3),
            counts={name: one for name, one in self._counts.items() if name != "total"},
            refused=dict(self._refused),
            commits=asdict(self._commits),
            checkpoints=asdict(self._checkpoints),
            exports=asdict(self._exports) | {"written": self._written, "failed": self._failed},
            queue={
                "bundles": self._queued(),
                "waiting": network.get("waiting", 0),
                "waiting_dropped": network.get("waiting_dropped", 0),
            },
            network=network,
            records=[asdict(one) for one in status.records],
            clock=status.skew and {"behind": status.skew.behind, "seconds": status.skew.seconds},
            jumped=status.jumped,
            held=dict(self._held),
            disk=self.disk.now,
            aggregators=[asdict(one) for one in self._differences()],
            queries=asdict(self._queries) | {"outcomes": dict(self._outcomes)},
            closed={
                "contested": self._closed.contested,
                "contested_dropped": self._closed.dropped,
                "unanswered": dict(self._closed.unanswered),
                "coverage": [one.facts() for one in self._closed.coverage],
            },
        )
