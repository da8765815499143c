"""Verifies every stored row from the data alone: its signature, and each column against its bytes.

Only the namespace keys in the table `catalog` are trusted: they verify the signatures of the
catalogs and of the namespace records (`signed.py`). The bytes of each report and erasure are judged
by the same rules as in every node; a report's catalog must be one that a record in the data lists.
Each column is then compared with those bytes (`check_rows.py`). Parquet files are compared with the
list of them, and the digests of days with those that are published (`check_files.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from methrics.aggregate.parquet.manifest import File, Manifest
from methrics.aggregate.parquet.remote import StaleError
from methrics.aggregate.read.check_dictionary import (
    DICTIONARY,
    MANIFEST,
    check_dictionary,
    check_manifests,
)
from methrics.aggregate.read.check_files import (
    check_days,
    check_expired,
    check_files,
    listed_days,
)
from methrics.aggregate.read.check_rows import CHUNK, Result, Task
from methrics.aggregate.read.dataset import MEMORY_LIMIT, Dataset
from methrics.aggregate.read.lake_sources import Lake
from methrics.aggregate.read.signed import TABLES, Signed, body_of
from methrics.aggregate.read.sources import (
    AttachedFile,
    Listed,
    LocalDirectory,
    LoneFile,
)
from methrics.aggregate.read.totals import Shows
from methrics.aggregate.read.verification import Verification
from methrics.aggregate.read.verify_plan import TASK_ROWS, Plan, plan
from methrics.aggregate.read.workers import work
from methrics.aggregate.store.duck import SCHEMA_ALIAS, name, translated_errors
from methrics.aggregate.store.progress import lost_commits
from methrics.aggregate.store.shard_sql import within
from methrics.schema.errors import StoreError
from methrics.schema.judging.judge import Verdict
from methrics.schema.wire.envelope import Kind
from methrics.schema.wire.items import Announcement, Erasure

TOGETHER = 64
"""Number of tables that are counted in one query."""

STATES_MAX = 100
"""Most states of a directory that are begun. Only what is new is checked in each."""

_REPORT = int(Kind.REPORT)

Progress = Callable[[int, int], None]
"""Called with (rows checked so far, rows in all)."""


def verify(
    dataset: Dataset, progress: Progress = lambda done, total: None, *, processes: int = 1
) -> Verification:
    """Check every row of `dataset`, with so many processes at a time.

    All files of an address are fetched. An aggregator may replace files of a directory meanwhile:
    then the newest state is verified, and what is known of files that stay is not verified again.
    Raises StoreError only if `dataset` cannot be read at all, and the errors of fetching.
    """
    if isinstance(dataset.origin, LoneFile):
        raise StoreError(
            "store-foreign", f"{dataset.path} is one table", "verify the file or the directory"
        )
    dataset.bring_all()
    if isinstance(dataset.origin, Lake):
        return _verify_lake(dataset.origin, progress, processes)
    known = _Known()
    for _ in range(STATES_MAX):
        try:
            return _checked(dataset, known, progress, processes)
        except StaleError:
            dataset.refresh()
        except StoreError:
            if not (_files_are_gone(dataset) and dataset.refresh()):
                raise
    raise StoreError(
        "store-busy",
        f"{dataset.path} changes faster than it can be verified",
        "verify a backup: `methrics backup FILE DIR`",
    )


def _verify_lake(lake: Lake, progress: Progress, processes: int) -> Verification:
    """Verify each shard by itself: none has items of another."""
    found = Verification()
    for missing in lake.missing:
        found.add("lake", None, f"shard {missing} is missing")
    total = sum(map(_reports_of, lake.shards.manifests.values()))
    before = 0

    def advance(done: int, _: int) -> None:
        progress(before + done, total)

    for part in lake.parts():
        with Dataset(part, MEMORY_LIMIT, Shows(1, [])) as dataset:
            found.merge(verify(dataset, advance, processes=processes))
        before += _reports_of(part.manifest)
    return found


def _reports_of(manifest: Manifest) -> int:
    return sum(one.count for days in manifest.days.values() for one in days.values())


@dataclass(slots=True)
class _Known:
    """What is known of Parquet files, which never change."""

    files: dict[File, str] = field(default_factory=dict)
    """file -> what is wrong with it, or nothing"""
    results: dict[tuple[frozenset[str], int, int], Result] = field(default_factory=dict)
    """names of the files, and range of n -> what a task found"""
    signed: tuple[tuple[str, str], ...] = ()
    """The catalogs and records by which the tasks were done."""


def _checked(dataset: Dataset, known: _Known, progress: Progress, processes: int) -> Verification:
    """Check one state of `dataset`. Raises StaleError if a query went on with a newer one."""
    began = _state(dataset)
    check = _Check(dataset, known)
    with translated_errors(dataset.path):
        check.commits()
        check.files()
        check.dictionary()
        check.reports(progress, processes)
        check.announcements()
        check.erasures()
        check.repeated()
        check.days()
    if _state(dataset) is not began:
        raise _stale()
    return check.found


def _state(dataset: Dataset) -> object:
    return dataset.origin.manifest if isinstance(dataset.origin, Listed) else None


def _stale() -> StaleError:
    return StaleError("stale", "files were replaced by newer ones")


def _files_are_gone(dataset: Dataset) -> bool:
    """Tell whether files of a directory that its manifest lists have been deleted."""
    source = dataset.origin
    if not isinstance(source, LocalDirectory):
        return False
    return not all(path.exists() for path in source.bring(list(source.manifest.files)))


class _Check:
    def __init__(self, dataset: Dataset, known: _Known) -> None:
        self.known = known
        self.rows = dataset.rows
        self.dataset = dataset
        self.source = dataset.origin
        self.found = Verification()
        self.present = frozenset(dataset.tables())
        self.con = dataset.connection
        dataset.bring("item", "tombstone", *TABLES)
        with translated_errors(dataset.path):
            self.signed = Signed(self.con, self.found, self.source.shard)
        for table in self.signed.layout.tables():
            for one in (table.table, table.steps) if table.stepped else (table.table,):
                if f"{table.schema}.{one}" not in self.present:
                    self.found.add(f"{table.schema}.{one}", None, "the table is missing")

    def dictionary(self) -> None:
        """Check what describes the reports."""
        self.dataset.bring(*(one for one in (*DICTIONARY, MANIFEST) if one in self.present))
        check_dictionary(self.con, self.signed, self.present, self.found)
        if MANIFEST in self.present:
            check_manifests(self.con, self.found)

    def commits(self) -> None:
        """Check that a DuckDB file has all commits that were acknowledged."""
        own = isinstance(self.source, AttachedFile)
        lost = lost_commits(self.source.con, self.source.path) if own else 0
        if lost:
            self.found.add("commits", None, f"the last {lost} commits are missing")

    def files(self) -> None:
        """Check the Parquet files against the list of them."""
        if isinstance(self.source, Listed):
            manifest = self.source.manifest
            files = list(manifest.files)
            self._files(files, self.source.bring(files))
            count = self.rows("SELECT count(*) FROM tombstone")[0][0]
            if count != manifest.tombstones:
                self.found.add("tombstone", None, "not as many rows as the manifest says")
        elif isinstance(self.source, AttachedFile):
            for place in self.source.settled.files:
                pairs = self.source.settled.pairs(place)
                self._files([one for one, _ in pairs], [path for _, path in pairs])

    def _files(self, files: Sequence[File], paths: Sequence[Path]) -> None:
        """Check those files of which nothing is known yet."""
        new = [pair for pair in zip(files, paths, strict=True) if pair[0] not in self.known.files]
        wrong = check_files(self.con, [one for one, _ in new], [path for _, path in new])
        if any(wrong) and _files_are_gone(self.dataset):
            self._raise_if_newer()
        self.known.files.update(zip((one for one, _ in new), wrong, strict=True))
        for one in files:
            self.found.files += 1
            if self.known.files[one]:
                self.found.add(one.table, None, self.known.files[one])

    def _raise_if_newer(self) -> None:
        """Raise StaleError if there is a newer state. Without one, files are really missing."""
        if self.dataset.refresh():
            raise _stale()

    def reports(self, progress: Progress, processes: int) -> None:
        """Check every report against its bytes, and its row in its typed table."""
        total = self.rows(f"SELECT count(*) FROM item WHERE kind = {_REPORT}")[0][0]
        progress(0, total)
        made = plan(self.source, self.con)
        for one in made.astray:
            self.found.add(one.table, None, f"{one.name} is not in the folder of its event type")
        counts: Counter[str] = Counter()
        before = self.found.reports
        for result in self._results(made, processes if total > TASK_ROWS else 1):
            self.found.merge(result.found)
            counts += result.rows
            progress(self.found.reports - before, total)
        if self.found.reports - before != total:
            self.found.add("item", None, "not every row has a number, or a file of its own")
        self._strays(counts)

    def _results(self, made: Plan, processes: int) -> Iterator[Result]:
        """Yield the results of all tasks: those that are known, then the others."""
        known = self.known
        if made.opening.signed != known.signed:
            known.results.clear()
            known.signed = made.opening.signed
        new: list[Task] = []
        for task in made.tasks:
            result = known.results.get((task.files, task.first, task.last))
            if result is None:
                new.append(task)
            else:
                yield result
        for task, result in work(made.opening, new, processes):
            if task.files:
                known.results[task.files, task.first, task.last] = result
            yield result

    def _strays(self, counts: Counter[str]) -> None:
        """Find typed rows that belong to no item: in the tables that have more rows than were
        compared."""
        tables = [
            (f"{table.schema}.{one}", sql)
            for table in self.signed.layout.tables()
            for one, sql in ((table.table, table.sql), (table.steps, table.steps_sql))
            if f"{table.schema}.{one}" in self.present
        ]
        self.dataset.bring(*(full.replace(".", " ") for full, _ in tables))
        for start in range(0, len(tables), TOGETHER):
            some = dict(tables[start : start + TOGETHER])
            queries = (f"SELECT '{full}', count(*) FROM {sql}" for full, sql in some.items())
            for full, count in self.rows(" UNION ALL ".join(queries)):
                if count != counts[full]:
                    self._stray(full, some[full])

    def _stray(self, full: str, sql: str) -> None:
        what = "steps that belong to no report" if full.endswith("_step") else "no item has it"
        missing = f"SELECT DISTINCT n FROM {sql} x ANTI JOIN item USING (n) ORDER BY n"
        strays = self.rows(missing)
        for (n,) in strays:
            self.found.add(full, n, what)
        if not strays:
            self.found.add(full, None, "more rows than reports of this event type")

    def announcements(self) -> None:
        """Check announcements in `item`."""
        rows = self.rows(
            "SELECT n, catalog, kind, epoch(time)::BIGINT, id, raw FROM item "
            f"WHERE kind IS DISTINCT FROM {_REPORT} ORDER BY n"
        )
        for together in self.signed.by_catalogs(rows, 1):
            verdicts = self.signed.judge_all([row[-1] for row in together])
            for row, verdict in zip(together, verdicts, strict=True):
                self._announcement(row, verdict)

    def _announcement(self, row: tuple[Any, ...], verdict: Verdict) -> None:
        n, _, kind, time, item_id, _ = row
        self.found.announcements += 1
        item, body = verdict.item, body_of(verdict)
        if item is None or body is None:
            self.found.add("item", n, f"the bytes are refused: {verdict.reason.value}")
        elif not isinstance(body, Announcement):
            self.found.add("item", n, "the kind is not what the bytes say")
        elif (item.kind, body.time, item.id) != (kind, time, item_id):
            self.found.add("item", n, "not what the bytes say")

    def erasures(self) -> None:
        """Check tombstones against their bytes, and that no erased report is stored."""
        columns = "n, catalog, report, day, id, raw"
        last, before = -1, self.found.erasures
        while rows := self.rows(
            f"SELECT {columns} FROM tombstone WHERE n > {last} ORDER BY n LIMIT {CHUNK}"
        ):
            last = rows[-1][0]
            for together in self.signed.by_catalogs(rows, 1):
                verdicts = self.signed.judge_all([row[-1] for row in together])
                for row, verdict in zip(together, verdicts, strict=True):
                    self._erasure(row, verdict)
        numbers = self.rows("SELECT count(*), count(DISTINCT n) FROM tombstone")
        if numbers != [(self.found.erasures - before,) * 2]:
            self.found.add("tombstone", None, "not every row has a number of its own")
        back = (
            "SELECT x.n FROM item x JOIN tombstone t ON t.report = x.id "
            "AND t.catalog = x.catalog AND t.day = x.time::DATE"
        )
        for (n,) in self.rows(back):
            self.found.add("item", n, "this report has been erased")

    def _erasure(self, row: tuple[Any, ...], verdict: Verdict) -> None:
        n, *stored, _ = row
        self.found.erasures += 1
        item, body = verdict.item, body_of(verdict)
        if item is None or not isinstance(body, Erasure):
            self.found.add("tombstone", n, f"the bytes are refused: {verdict.reason.value}")
            return
        entry = self.signed.layout.entries.get(body.catalog)
        day = date(1970, 1, 1) + timedelta(days=body.day)
        right = [entry.n if entry else None, body.report_id(item.key), day, item.id]
        if stored != right:
            self.found.add("tombstone", n, "not what the bytes say")

    def repeated(self) -> None:
        """Check that every item and every number n occurs only once."""
        twice = "SELECT min(n) FROM item GROUP BY time, id HAVING count(*) > 1"
        for (n,) in self.rows(twice):
            self.found.add("item", n, "the same item is stored more than once")
        for (n,) in self.rows("SELECT n FROM item GROUP BY n HAVING count(*) > 1"):
            self.found.add("item", n, "the number occurs twice")
        shard = self.source.shard
        for table, column in (("item", "id"), ("tombstone", "report")):
            astray = f"SELECT n FROM {table} WHERE NOT ({within(column, shard)})"
            for (n,) in self.rows(astray):
                self.found.add(table, n, f"it is not of shard {shard}")

    def days(self) -> None:
        """Check the digests of days, and that nothing is kept for longer than its catalog says."""
        if isinstance(self.source, Listed):
            check_days(self.con, listed_days(self.source.manifest), self.found, all_days=True)
            check_expired(self.con, self.source.manifest.written, self.found)
            return
        said = {
            (key, day): (count, digest)
            for key, day, count, digest in self.con.execute(
                f"SELECT key, day, count, digest FROM {name(SCHEMA_ALIAS, 'main', 'digest')} "
                "WHERE digest IS NOT NULL  -- the others are not computed yet"
            ).fetchall()
        }
        check_days(self.con, said, self.found, all_days=False)
