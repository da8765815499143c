"""Fetches a whole directory of Parquet from an address, and checks it against its manifest.

The manifest lists the days; the table `type` lists the folders. The owner may write new days during
the download. So the manifest is read again until it has not changed and every fetched day has the
digest in the manifest. Incomplete or altered data is refused.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from methrics.aggregate.parquet.export import EMPTY, MANIFEST, WHOLE
from methrics.aggregate.parquet.fetching import (
    Progress,
    failed,
    fetch,
    megabytes,
    silent,
    too_large,
)
from methrics.aggregate.parquet.parts import FOLDER, Part, decode_parts, file_of, parts_of
from methrics.aggregate.store.digest import digests
from methrics.aggregate.store.duck import Connection, memory, read_parquet, translated_errors
from methrics.aggregate.store.tables import LAYOUT_VERSION
from methrics.schema.errors import StoreError

_MANIFEST_MAX = 64 * 1024 * 1024
_ROUNDS = 5
_NAME = re.compile(r"[a-z0-9_]{1,200}")

Days = Mapping[str, Mapping[str, tuple[int, str]]]
"""SQL schema -> day -> (count, digest)"""


def mirror(
    address: str,
    target: Path,
    *,
    size_max: int,
    progress: Progress = silent,
    ids_only: bool = False,
) -> Path:
    """Fetch the directory at `address` (which ends in a slash) into the new directory `target`.

    With `ids_only`, only the tables with ids (`item` and `tombstone`) are fetched. Raises
    StoreError `store-foreign`, `store-version` and `store-broken`, and the errors of `fetch`.
    """
    job = _Mirror(address, target, size_max, progress, ids_only)
    wrong: frozenset[str] = frozenset()
    for _ in range(_ROUNDS):
        changed = job.manifest()
        wrong = frozenset() if changed else job.wrong()
        if not changed and not wrong:
            return target
        job.bring(wrong)
    if not wrong:
        raise failed(address, "it changes faster than it can be fetched")
    raise StoreError(
        "store-broken",
        f"the files at {address} are not those that their manifest lists ({min(wrong)})",
        "try again later, or tell whoever publishes them",
    )


class _Mirror:
    def __init__(
        self, address: str, target: Path, size_max: int, progress: Progress, ids_only: bool
    ) -> None:
        self._address = address
        self._target = target
        self._size_max = size_max
        self._progress = progress
        self._ids_only = ids_only
        self._text = b""
        self._days: Days = {}
        self._before: Days = {}
        self._parts: dict[int, Part] = {}
        self._old_parts: dict[int, Part] = {}
        self._sizes: dict[str, int] = {}
        self._wanted = 0
        target.mkdir(parents=True)

    def manifest(self) -> bool:
        """Read the manifest; return whether it has changed since it was last read."""
        self._get(MANIFEST, size_max=_MANIFEST_MAX)
        text = (self._target / MANIFEST).read_bytes()
        if text == self._text:
            return False
        self._text, self._before, self._old_parts = text, self._days, self._parts
        self._days, self._parts = self._read(text)
        return True

    def _read(self, text: bytes) -> tuple[Days, dict[int, Part]]:
        try:
            manifest = json.loads(text)
            layout, listed = manifest.get("layout", LAYOUT_VERSION), manifest["days"]
            days = {
                str(schema): {str(date.fromisoformat(day)): _entry(one) for day, one in own.items()}
                for schema, own in listed.items()
            }
            tombstones = decode_parts(manifest.get("tombstones", {}))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(
                "store-foreign",
                "the address holds no Parquet directory of methrics",
                f"it must lead to the folder that holds {MANIFEST}",
            ) from error
        if layout != LAYOUT_VERSION and not self._ids_only:
            raise StoreError(
                "store-version", f"{self._address} was written by another version of methrics"
            )
        return days, tombstones

    def bring(self, wrong: Collection[str]) -> None:
        """Fetch the files that the manifest lists.

        A day or part that was fetched already is fetched again only if it has changed or is in
        `wrong`.
        """
        listed = {day for own in self._days.values() for day in own}
        was = {day for own in self._before.values() for day in own}
        stale = sorted(day for day in listed | was if day in wrong or self._changed(day))
        days = [day for day in stale if day in listed]
        whole = () if self._ids_only else tuple(WHOLE)
        changed = [
            number
            for number in {*self._parts, *self._old_parts}
            if self._parts.get(number) != self._old_parts.get(number) or file_of(number) in wrong
        ]
        self._wanted = len(self._sizes) + len(whole) + len(days) + len(changed)
        for table in whole:
            self._get(f"{table}.parquet")
        for gone in set(stale) - set(days):
            for path in self._target.rglob(f"{gone}.parquet"):
                path.unlink()
        self._folder("item", days)
        self._tombstones(changed)
        if not self._ids_only:
            folders = self._folders()
            self._wanted += len(folders) * len(days)
            for folder in folders:
                self._folder(folder, days)

    def _tombstones(self, changed: Iterable[int]) -> None:
        self._get(f"{FOLDER}/{EMPTY}.parquet")
        for number in sorted(changed):
            if number in self._parts:
                self._get(file_of(number))
            else:
                (self._target / file_of(number)).unlink(missing_ok=True)

    def _changed(self, day: str) -> bool:
        return any(
            self._days.get(schema, {}).get(day) != self._before.get(schema, {}).get(day)
            for schema in {*self._days, *self._before}
        )

    def _folders(self) -> list[str]:
        """Return the folders of the event types and of the steps of sequences."""
        con = memory()
        try:
            with translated_errors(self._target):
                table = read_parquet(self._target / "type.parquet")
                found = con.execute(
                    f'SELECT DISTINCT schema, "table" FROM {table} ORDER BY ALL'
                ).fetchall()
        finally:
            con.close()
        if not all(_NAME.fullmatch(str(name)) for row in found for name in row):
            raise StoreError("store-foreign", f"{self._address} has tables with forbidden names")
        types = [f"types/{schema}/{table}" for schema, table in found]
        stepped = [f"{one}_step" for one in types]
        return types + [one for one in stepped if self._get(f"{one}/{EMPTY}.parquet", absent=True)]

    def _folder(self, folder: str, days: list[str]) -> None:
        self._get(f"{folder}/{EMPTY}.parquet")
        for day in days:
            self._get(f"{folder}/{day}.parquet", absent=folder != "item")

    def _get(self, name: str, *, absent: bool = False, size_max: int | None = None) -> bool:
        """Fetch one file; return whether the server has it. A missing file is an error unless
        `absent` is set."""
        left = self._size_max - sum(self._sizes.values()) + self._sizes.get(name, 0)
        place = self._target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        bound = left if size_max is None else min(left, size_max)
        if bound <= 0:
            raise too_large(self._address, self._size_max)
        address = urljoin(self._address, name)
        if fetch(address, place, size_max=bound, may_be_absent=absent) is None:
            place.unlink(missing_ok=True)
            with suppress(OSError):
                place.parent.rmdir()  # each folder here is a table
            return False
        self._sizes[name] = place.stat().st_size
        done, size = len(self._sizes), megabytes(sum(self._sizes.values()))
        self._progress(f"{self._target.name}: {done} of {max(done, self._wanted)} files, {size} MB")
        return True

    def wrong(self) -> frozenset[str]:
        """Return the days and the files of tombstones that are not as the manifest lists them. With
        `ids_only`, days are not checked: that takes the catalogs."""
        con = memory()
        try:
            with translated_errors(self._target):
                tombstones = read_parquet(self._target / FOLDER, "*.parquet")
                con.execute(f"CREATE VIEW tombstone AS FROM {tombstones}")
                found = parts_of(con)
        finally:
            con.close()
        numbers = {*found, *self._parts}
        wrong = {file_of(one) for one in numbers if found.get(one) != self._parts.get(one)}
        return frozenset(wrong) | (frozenset() if self._ids_only else self._wrong_days())

    def _wrong_days(self) -> frozenset[str]:
        """Return the days whose files differ from the manifest, either in the digest of the reports
        or in the number of rows in the tables of event types."""
        con = memory()
        try:
            with translated_errors(self._target):
                catalogs = read_parquet(self._target / "catalog.parquet")
                items = read_parquet(self._target / "item", "*.parquet")
                con.execute(f"CREATE VIEW catalog AS FROM {catalogs}")
                con.execute(f"CREATE VIEW item AS FROM {items}")
                found = {
                    (one.schema, str(one.date)): (one.count, one.digest.hex())
                    for one in digests(con)
                }
                rows = self._rows(con)
        finally:
            con.close()
        said = {
            (schema, day): one for schema, own in self._days.items() for day, one in own.items()
        }
        return frozenset(
            key[1]
            for key in {*said, *found, *rows}
            if said.get(key) != found.get(key) or said.get(key, (0,))[0] != rows[key]
        )

    def _rows(self, con: Connection) -> Counter[tuple[str, str]]:
        """Count the rows in the tables of event types, by SQL schema and day."""
        rows: Counter[tuple[str, str]] = Counter()
        for folder in self._target.glob("types/*/*"):
            if folder.name.endswith("_step"):
                continue
            files = read_parquet(folder, "*.parquet")
            for day, count in con.execute(
                f"SELECT time::DATE, count(*) FROM {files} GROUP BY ALL"
            ).fetchall():
                rows[folder.parent.name, str(day)] += count
        return rows


def _entry(one: Mapping[str, Any]) -> tuple[int, str]:
    return int(one.get("count", 0)), str(one.get("digest", ""))
