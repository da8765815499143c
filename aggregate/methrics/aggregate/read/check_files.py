"""Checks the files of a data set against the lists of them: hashes, rows, digests of days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path

from methrics.aggregate.parquet.manifest import File, Manifest
from methrics.aggregate.parquet.remote import digest_of
from methrics.aggregate.read.verification import Verification
from methrics.aggregate.store.digest import day_digest
from methrics.aggregate.store.duck import Connection, literal, moment, read_parquet_files
from methrics.schema.wire.envelope import Kind
from methrics.schema.wire.limits import TIME_MAX

AT_ONCE = 4
"""Files that are read at the same time. Hashing releases Python's lock."""

_REPORT = int(Kind.REPORT)
_EPOCH = date(1970, 1, 1)
_POSSIBLE = f"i.time >= {moment(0)} AND i.time <= {moment(TIME_MAX)}"
"""A time that a report can have, which Python can hold. Others are not what the bytes say."""

Days = Mapping[tuple[bytes, date], tuple[int, bytes]]
"""(namespace key, day) -> count and digest of its reports"""


def check_files(con: Connection, files: Iterable[File], paths: Iterable[Path]) -> list[str]:
    """Check that each file has the listed size, SHA-256 and number of rows. Returns what is wrong
    with each; nothing if it is as listed."""
    pairs = list(zip(files, paths, strict=True))
    wrong: list[str] = []
    for (one, path), right in zip(pairs, are_listed(pairs), strict=True):
        what = ""
        if not right:
            what = f"{one.name} is not the listed file"
        else:
            count = f"SELECT count(*) FROM {read_parquet_files([path], by_name=False)}"
            if con.execute(count).fetchall() != [(one.rows,)]:
                what = f"{one.name} has not the listed number of rows"
        wrong.append(what)
    return wrong


def are_listed(pairs: Iterable[tuple[File, Path]]) -> list[bool]:
    """Tell of each file whether it has the listed size and SHA-256."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hash") as pool:
        return list(pool.map(_is_listed, pairs))


def _is_listed(pair: tuple[File, Path]) -> bool:
    one, path = pair
    try:
        return path.stat().st_size == one.size and digest_of(path) == one.sha256
    except OSError:
        return False


def listed_days(manifest: Manifest) -> Days:
    """Return the digests of a manifest."""
    return {
        (one.key, day): (one.count, one.digest)
        for days in manifest.days.values()
        for day, one in days.items()
    }


def check_days(con: Connection, said: Days, found: Verification, *, all_days: bool) -> None:
    """Compare the digests `said` with those of the reports in the table `item`; with `all_days`,
    each day with reports has to be in `said`. It is one pass, whatever the number of days."""
    there: set[tuple[bytes, date]] = set()
    for key, day, ids in _days(con):
        there.add((key, day))
        right = day_digest(key, (day - _EPOCH).days, ids)
        own = said.get((key, day))
        if own is None and not all_days:
            continue
        if own != right:
            found.add("item", None, f"{key.hex()[:12]} {day}: not the digest that is published")
    for key, day in said.keys() - there:
        if said[key, day][0]:
            found.add("item", None, f"{key.hex()[:12]} {day}: the reports are missing")


def _days(con: Connection) -> Iterator[tuple[bytes, date, Iterator[bytes]]]:
    reader = (
        con.cursor()
        .sql(
            "SELECT c.key, i.time::DATE AS day, i.id FROM item i JOIN catalog c ON c.n = i.catalog "
            f"WHERE i.kind = {_REPORT} AND {_POSSIBLE} ORDER BY ALL"
        )
        .to_arrow_reader(100_000)
    )
    rows = (
        row
        for batch in reader
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    )
    for (key, day), own in groupby(rows, key=lambda row: (row[0], row[1])):
        yield key, day, (row[2] for row in own)


def check_expired(con: Connection, written: str, found: Verification) -> None:
    """Check that the Parquet of this time has no report that was to be deleted by then.

    A report is kept for its catalog's days; a day more is allowed for the pass that deletes it.
    """
    day = datetime.fromisoformat(written).date() - timedelta(days=1)
    expired = con.execute(
        "SELECT i.n FROM item i JOIN declaration d ON d.catalog = i.catalog AND d.type = i.type "
        f"WHERE i.time::DATE + d.retention < DATE {literal(str(day))} ORDER BY i.n"
    ).fetchall()
    for (n,) in expired:
        found.add("item", n, "its time to be kept is over")
