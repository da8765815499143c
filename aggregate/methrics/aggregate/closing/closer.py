"""Closes the days that are over, by manifests that this aggregator signs.

A day that changed after it was closed, by a quorum, an erasure, a revocation or retention, gets a
new manifest that supersedes the old one. Manifests of open days are made on request and not stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from methrics.aggregate.closing.manifests import closed_of, forget, replace_own
from methrics.aggregate.closing.over import is_over, longest_lateness
from methrics.aggregate.store.digest import DayDigest, day_digest
from methrics.aggregate.store.duck import Connection
from methrics.aggregate.store.store import Store
from methrics.schema.wire.envelope import public_key
from methrics.schema.wire.manifest import (
    Manifest,
    SignedManifest,
    erasures_digest,
    sign_manifest,
)

AppDay = tuple[bytes, int]
"""A namespace key and a day (since 1970-01-01)."""


@dataclass(slots=True)
class _Snapshot:
    """What one snapshot of the file says of every day."""

    reports: dict[AppDay, DayDigest]
    erasures: dict[AppDay, tuple[int, bytes]]
    """Number and digest of the erasures of the day."""
    records: dict[bytes, bytes]
    before: dict[AppDay, SignedManifest]
    made: list[Manifest] = field(default_factory=list)


class Closer:
    """Signs the manifests of one store with the seed (32 bytes) of the aggregator's peer key.

    Methods read and write the disk: call them in a worker thread, one at a time.
    """

    def __init__(self, store: Store, seed: bytes) -> None:
        self._store = store
        self._seed = seed
        self.signer = public_key(seed)
        self._lateness: dict[bytes, int] = {}
        """catalog id -> the longest lateness (seconds) of its event types"""

    def close(self, now: int) -> list[SignedManifest]:
        """Close the days that are over at `now` (Unix seconds), and supersede the manifests of
        those that changed. Returns the new manifests. Raises StoreError."""
        longest = self._longest()
        with self._store.writing() as con:
            forget(con, self.signer, now)
        with self._store.reading() as con:
            found = self._look(con)
            for about in sorted({*found.reports, *found.before}):
                key, day = about
                if is_over(day, longest.get(key, 0), now):
                    self._close(found, about, now)
        made = [sign_manifest(one, self._seed) for one in found.made]
        if made:
            with self._store.writing() as con:
                replace_own(con, made)
        return made

    def open_manifest(self, key: bytes, day: int, now: int) -> SignedManifest:
        """Sign what the file has of a day now, as a manifest that is open. It is not stored."""
        with self._store.reading() as con:
            found = self._look(con, [day])
            made = self._manifest(found, (key, day), now, closed=False)
        return sign_manifest(made, self._seed)

    def _longest(self) -> dict[bytes, int]:
        """Return the longest lateness (seconds) of each namespace, over its catalogs in the
        file."""
        longest: dict[bytes, int] = {}
        for entry in self._store.catalogs():
            if entry.id not in self._lateness:
                catalog = self._store.catalog(entry.id)
                self._lateness[entry.id] = longest_lateness([catalog] if catalog else [])
            longest[entry.key] = max(self._lateness[entry.id], longest.get(entry.key, 0))
        return longest

    def _look(self, con: Connection, days: Iterable[int] | None = None) -> _Snapshot:
        reports = self._store.day_digests(None if days is None else list(days), con=con)
        erasures = con.execute(
            "SELECT c.key, date_diff('day', DATE '1970-01-01', t.day) AS day, "
            "list(t.id ORDER BY t.id) FROM tombstone t JOIN catalog c ON c.n = t.catalog "
            "GROUP BY ALL"
        ).fetchall()
        records = con.execute(
            "SELECT key, arg_max(id, (time, id)) FROM record GROUP BY key"
        ).fetchall()
        return _Snapshot(
            {(one.key, one.day): one for one in reports},
            {(key, day): erasures_digest(key, day, ids) for key, day, ids in erasures},
            dict(records),
            closed_of(con, self.signer),
        )

    def _close(self, found: _Snapshot, about: AppDay, now: int) -> None:
        before = found.before.get(about)
        if before is None:
            found.made.append(self._manifest(found, about, now, closed=True))
            return
        old, reports = before.manifest, found.reports.get(about)
        count = 0 if reports is None else reports.count
        changed = count != old.count or (reports is not None and reports.digest != old.digest)
        erased = found.erasures.get(about) or erasures_digest(*about, ())
        changed = changed or erased != (old.erasures, old.erasures_digest)
        if now <= old.as_of or not changed:
            return
        new = self._manifest(found, about, now, closed=True)
        late = min(count, old.late + max(0, count - old.count))
        found.made.append(replace(new, late=late))

    def _manifest(self, found: _Snapshot, about: AppDay, now: int, *, closed: bool) -> Manifest:
        key, day = about
        reports = found.reports.get(about)
        none = day_digest(key, day, ())
        count, digest = none if reports is None else (reports.count, reports.digest)
        erasures, erased = found.erasures.get(about) or erasures_digest(key, day, ())
        return Manifest(
            namespace=key,
            day=day,
            as_of=now,
            closed=closed,
            count=count,
            digest=digest,
            erasures=erasures,
            erasures_digest=erased,
            record=found.records.get(key),
            shard=self._store.shard,
        )
