"""Runs a simulation, and writes its two files: `data.duckdb` and `truth.duckdb`.

First, processes run the days of all installs. Then the bundles of the topic go, in order of time,
into the judge and the store of a real aggregator. Last, the truth is written beside the data.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from methrics.aggregate.simulate import truth
from methrics.aggregate.simulate.arrival import Arrival
from methrics.aggregate.simulate.days import live
from methrics.aggregate.simulate.population import Profile, invent
from methrics.aggregate.simulate.settings import DAY, Settings
from methrics.aggregate.simulate.signing import RawCost, raw_cost
from methrics.aggregate.simulate.transport import Resting
from methrics.aggregate.store.digest import combine, digests
from methrics.aggregate.store.plain_path import plain_file
from methrics.aggregate.store.store import Store
from methrics.schema.errors import ConfigError
from methrics.schema.example import example_catalog

DATA, TRUTH = "data.duckdb", "truth.duckdb"

TOGETHER = 25
"""Number of installs in one task of a process: enough to keep the process busy, and few enough for
a smooth progress bar."""

ALONE = 150
"""Up to this many installs, starting processes costs more than it saves."""

Tell = Callable[[str, int, int], None]
"""Called with (the current task, the amount done, the total)."""


@dataclass(frozen=True, slots=True)
class Lived:
    """The result of some installs: their tables, their CPU time, and that of signing alone."""

    tables: dict[str, pa.Table]
    reports: int
    cpu: float
    raw: RawCost


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a simulation. CPU times are in seconds, over all processes."""

    installs: int
    sharing: int
    days: int
    reports: int
    stored: int
    refused: int
    digest: str
    truth: str
    generate_cpu_s: float
    store_cpu_s: float
    wall_s: float
    reports_per_cpu_s: float
    total_reports_per_cpu_s: float
    raw_sign_per_cpu_s: float
    raw_keypair_and_sign_per_cpu_s: float
    sign_ratio: float
    signing_share: float

    def as_dict(self) -> dict[str, object]:
        """As one flat object."""
        return asdict(self)


def simulate(
    folder: Path, settings: Settings, *, processes: int = 2, tell: Tell = lambda *_: None
) -> Summary:
    """Run a simulation, and write both files into `folder`.

    Additional processes import the calling script again, so a script that uses them keeps its own
    work under `if __name__ == "__main__"`. `tell` is called with the progress.
    Raises ConfigError for impossible settings and if a file exists already (nothing is
    overwritten), StoreError if a file cannot be written there.
    """
    settings.check()
    refuse_to_overwrite(folder)
    plain_file(folder / DATA, writing=True)  # raises before the work, not after it
    started = time.perf_counter()
    profiles = invent(settings)
    parts: list[Lived] = []
    lives = _lives(profiles, settings, processes)
    for done, part in enumerate(lives, 1):
        parts.append(part)
        tell("living", min(done * TOGETHER, len(profiles)), len(profiles))
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.process_time()
    with Store(folder / DATA) as store:
        arrival = Arrival(store, example_catalog(), settings, processes)
        try:
            _play(arrival, parts, settings, tell)
        finally:
            arrival.close()
        store_cpu = time.process_time() - begun
        stored = _stored(store)
    tell("writing the truth", 0, 1)
    extra = _extra(settings, arrival)
    truth.write(folder / TRUTH, [*(part.tables for part in parts), extra], arrival.fates)
    tell("writing the truth", 1, 1)
    return _summary(folder, settings, profiles, parts, stored, store_cpu, started)


def refuse_to_overwrite(folder: Path) -> None:
    """Raise ConfigError if `folder` contains one of the two files."""
    for name in (DATA, TRUTH):
        if (folder / name).exists():
            raise ConfigError(
                "simulation-exists", f"{folder / name} is there already", "name another directory"
            )


def _lives(profiles: list[Profile], settings: Settings, processes: int) -> Iterator[Lived]:
    chunks = [profiles[at : at + TOGETHER] for at in range(0, len(profiles), TOGETHER)]
    work = partial(live_some, settings)
    if processes < 2 or len(profiles) <= ALONE:
        yield from map(work, chunks)
        return
    # A fork of a process with threads may hang; `spawn` does not. Only the parent handles an
    # interrupt: it cancels the tasks that have not begun.
    context = multiprocessing.get_context("spawn")
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=ignore)
    try:
        yield from pool.map(work, chunks)
    finally:
        pool.shutdown(cancel_futures=True)


def live_some(settings: Settings, profiles: list[Profile]) -> Lived:
    """Run some installs in this process."""
    begun = time.process_time()
    rows = live(profiles, settings, example_catalog())
    cpu = time.process_time() - begun
    reports = len(rows.report)
    return Lived(rows.arrow(), reports, cpu, raw_cost())


def _play(arrival: Arrival, parts: Iterable[Lived], settings: Settings, tell: Tell) -> None:
    """Judge and store the reports of every day, then those that arrive after the last day."""
    found = [part.tables["report"] for part in parts if "report" in part.tables]
    reports = _in_order(found)
    times = _times(reports) if reports is not None else None
    day, stop = settings.start // DAY, settings.start // DAY + settings.days
    last = stop
    if times is not None:
        last = max(stop, times[-1] // DAY + 1)
    at = 0
    while day < max(last, (arrival.rest() or 0) + 1):
        items: list[Resting] = []
        if reports is not None and times is not None:
            until = bisect_left(times, (day + 1) * DAY)
            items = _resting(reports.slice(at, until - at))
            at = until
        arrival.day(day, items, attacked=day < stop)
        day += 1
        begin = settings.start // DAY
        tell("storing", min(day - begin, last - begin), last - begin)


def _in_order(found: list[pa.Table]) -> pa.Table | None:
    """Sort all reports by time of arrival. The columns have 64-bit offsets, because the bytes of
    all reports may exceed 2 GiB."""
    if not found:
        return None
    table = pa.concat_tables(found).select(["arrived", "id", "raw"])
    table = table.set_column(2, "raw", table["raw"].cast(pa.large_binary()))
    return table.take(pc.sort_indices(table, sort_keys=[("arrived", "ascending")]))


def _times(reports: pa.Table) -> array[int]:
    """Return when each report arrives (Unix seconds, ascending), without numpy, which the extra
    `aggregate` does not install."""
    times = array("q")
    for chunk in reports["arrived"].cast(pa.int64()).chunks:
        times.extend(chunk.to_pylist())
    return times


def _resting(rows: pa.Table) -> list[Resting]:
    columns = (
        rows["arrived"].cast(pa.int64()).to_pylist(),
        rows["id"].to_pylist(),
        rows["raw"].to_pylist(),
    )
    return [
        Resting(closes=arrived, id=item_id, raw=raw)
        for arrived, item_id, raw in zip(*columns, strict=True)
    ]


def _extra(settings: Settings, arrival: Arrival) -> dict[str, pa.Table]:
    attacks = truth.Columns("attack")
    for (kind, day, reason), items in sorted(arrival.attacks.items()):
        if items:
            attacks.add(kind, day, reason, items)
    run = truth.Columns("run")
    for name, value in settings.as_dict().items():
        run.add(name, str(value))
    return {"attack": attacks.arrow(), "run": run.arrow()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The content of the data set: the numbers of reports and refusals, and the app's digest."""

    reports: int
    refused: int
    digest: str


def _stored(store: Store) -> Stored:
    con = store.cursor()
    refused = con.execute("SELECT coalesce(sum(count), 0)::BIGINT FROM refusal").fetchall()[0][0]
    found = combine(digests(con))
    digest = found[0].digest.hex() if found else ""
    return Stored(reports=store.total, refused=refused, digest=digest)


def _summary(
    folder: Path,
    settings: Settings,
    profiles: list[Profile],
    parts: list[Lived],
    stored: Stored,
    store_cpu: float,
    started: float,
) -> Summary:
    reports = sum(part.reports for part in parts)
    cpu = sum(part.cpu for part in parts)
    raw = sum((part.raw for part in parts), RawCost())
    return Summary(
        installs=len(profiles),
        sharing=sum(bool(profile.consent) for profile in profiles),
        days=settings.days,
        reports=reports,
        stored=stored.reports,
        refused=stored.refused,
        digest=stored.digest,
        truth=truth.digest(folder / TRUTH),
        generate_cpu_s=round(cpu, 2),
        store_cpu_s=round(store_cpu, 2),
        wall_s=round(time.perf_counter() - started, 2),
        reports_per_cpu_s=round(reports / cpu, 1),
        total_reports_per_cpu_s=round(reports / (cpu + store_cpu), 1),
        raw_sign_per_cpu_s=round(1 / raw.sign_s, 1),
        raw_keypair_and_sign_per_cpu_s=round(1 / (raw.keypair_s + raw.sign_s), 1),
        sign_ratio=round(reports / cpu * raw.sign_s, 3),
        signing_share=round(reports * (raw.keypair_s + raw.sign_s) / cpu, 3),
    )
