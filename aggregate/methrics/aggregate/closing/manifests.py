"""Keeps manifests in the file: this aggregator's own, and those of the peers that it trusts.

Of a signer, namespace and day there is one row, the newest, or two that contradict each other. A
signer with two has no vote for that day: it has told different peers different things.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from methrics.aggregate.store.duck import Connection, moment
from methrics.aggregate.store.store import Store
from methrics.schema.errors import RefusedError
from methrics.schema.wire.limits import DAY, EARLY_MAX
from methrics.schema.wire.manifest import SignedManifest, contradicts, read_manifest, supersedes

DAYS_MAX = 4096
"""Most days of one signer and namespace: eleven years, more than any retention."""

_EPOCH = date(1970, 1, 1)
_DAY = "date_diff('day', DATE '1970-01-01', day)"
_ROW = "signer = ? AND key = ? AND day = ?"

About = tuple[bytes, bytes, int]
"""A signer, a namespace key and a day (since 1970-01-01)."""


class Kept(NamedTuple):
    """What became of offered manifests."""

    new: int
    contradictions: int
    refused: int


def closed_of(con: Connection, signer: bytes) -> dict[tuple[bytes, int], SignedManifest]:
    """Return the closed manifests of one signer, by namespace key and day; of two that contradict
    each other, one."""
    rows = con.execute(
        "SELECT raw FROM manifest WHERE signer = ? AND closed ORDER BY id", [signer]
    ).fetchall()
    found = [read_manifest(raw) for (raw,) in rows]
    return {(one.manifest.namespace, one.manifest.day): one for one in found}


def contradicting(con: Connection) -> set[About]:
    """Return the signers that have contradicted themselves, each with namespace key and day."""
    return set(
        con.execute(
            f"SELECT signer, key, {_DAY} FROM manifest GROUP BY ALL HAVING count(*) > 1"
        ).fetchall()
    )


def keep_manifests(
    store: Store, raws: Iterable[bytes], signers: Collection[bytes], now: int
) -> Kept:
    """Keep those manifests that one of `signers` made of a namespace in the file.

    A later one takes the place of an earlier one, never the other way round. One that contradicts a
    stored one is kept beside it. Raises StoreError.
    """
    namespaces = {entry.key for entry in store.catalogs()}
    offered: list[SignedManifest] = []
    refused = 0
    for raw in raws:
        try:
            found = read_manifest(raw, now)
        except RefusedError:
            refused += 1
            continue
        known = found.item.key in signers and found.manifest.namespace in namespaces
        recent = now // DAY - DAYS_MAX < found.manifest.day <= now // DAY
        if known and recent:
            offered.append(found)
        else:
            refused += 1
    if not offered:
        return Kept(0, 0, refused)
    new = contradictions = 0
    with store.writing() as con:
        for one in offered:
            stored = _stored(con, one)
            if any(supersedes(other, one) or other.item.id == one.item.id for other in stored):
                continue
            if len(stored) > 1:
                continue  # its signer has contradicted itself: the proof stays
            against = [other for other in stored if contradicts(other, one)]
            if not against and stored and not all(supersedes(one, other) for other in stored):
                continue  # two open ones of the same second
            if not against:
                con.execute(f"DELETE FROM manifest WHERE {_ROW}", _about(one))
            insert(con, [one])
            new += 1
            contradictions += bool(against)
    return Kept(new, contradictions, refused)


def replace_own(con: Connection, made: Iterable[SignedManifest]) -> None:
    """Write manifests in the place of those that the same signer made before."""
    made = list(made)
    for one in made:
        con.execute(f"DELETE FROM manifest WHERE {_ROW}", _about(one))
    insert(con, made)


def forget(con: Connection, own: bytes, now: int) -> None:
    """Delete what does not count any more: days that nobody keeps, and manifests of the future that
    this aggregator, `own`, signed while its clock was ahead. No peer has taken one of those."""
    last = _EPOCH + timedelta(days=max(0, now // DAY - DAYS_MAX))
    ahead = f"signer = ? AND as_of > {moment(now + EARLY_MAX)}"
    con.execute(f"DELETE FROM manifest WHERE day <= ? OR ({ahead})", [last, own])


def insert(con: Connection, made: Iterable[SignedManifest]) -> None:
    """Write manifests, in the caller's transaction."""
    for item, one in made:
        con.execute(
            f"INSERT INTO manifest VALUES (?, ?, ?, {moment(one.as_of)}, ?, ?, ?, ?, ?)",
            [
                item.key,
                one.namespace,
                _EPOCH + timedelta(days=one.day),
                one.closed,
                one.count,
                one.digest,
                item.id,
                item.raw,
            ],
        )


def _stored(con: Connection, one: SignedManifest) -> Sequence[SignedManifest]:
    rows = con.execute(f"SELECT raw FROM manifest WHERE {_ROW}", _about(one)).fetchall()
    return [read_manifest(raw) for (raw,) in rows]


def _about(one: SignedManifest) -> list[object]:
    signer, key, day = one.about
    return [signer, key, _EPOCH + timedelta(days=day)]
