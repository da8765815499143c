"""Makes the next record of a namespace from those that were found and the owner's changes (pure).

The next record keeps what the ones before say, and names the newest of them. If there are others
beside it, because a copy of the key signed on its own, the next record names them too and heals
that: it has what any of them lists, ends and revokes, and says that everything until the time of
the newest is settled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from methrics.node.publish.lineage import Lineage
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError
from methrics.schema.wire.limits import EARLY_MAX, LISTED_MAX, REVOKED_MAX
from methrics.schema.wire.record import Listing, Record, Revoked


@dataclass(frozen=True, slots=True)
class Changes:
    """What the owner changes. `listed`: catalogs to list from now on. `delisted`: by catalog id,
    the time from which reports are not accepted any more (Unix seconds). `exactly`: whether it has
    to be that time; otherwise an end that was set before stays. `revoked`: event types to revoke,
    by name."""

    listed: Sequence[Catalog] = ()
    delisted: Mapping[bytes, int] = field(default_factory=dict)
    exactly: bool = True
    revoked: Mapping[str, Revoked] = field(default_factory=dict)


def next_record(before: Lineage, changes: Changes, *, now: int, expires: int) -> Record:
    """Returns the record that follows those that were found, valid until `expires` (Unix seconds).

    Raises ConfigError `record-from-future` if a record before has a time that the network does not
    accept yet, `bad-expiry`, `unlisted-catalog` for a catalog to delist that is not listed,
    `delisted-already` for one whose end is set, to another time, and `too-many-catalogs` or
    `too-many-revoked`.
    """
    time = max([now, *(one.record.time + 1 for one in before.found[:1])])
    if time > now + EARLY_MAX:
        raise ConfigError(
            "record-from-future",
            "the record before has a time in the future",
            "check this machine's clock; the network accepts no record from the future",
        )
    if expires <= time:
        raise ConfigError("bad-expiry", "the record would have expired already", "give --expires")
    revoked = _revoked(before, changes)
    return Record(
        time=time,
        expires=expires,
        previous=tuple(sorted(one.item.id for one in before.parents)),
        catalogs=_catalogs(before, changes, time),
        revoked=revoked,
        settled=_settled(before),
    )


def least_delisting(catalog: Catalog, time: int) -> int:
    """Returns the earliest time at which a record of `time` may delist `catalog`: its longest
    lateness later, so that nodes which have the record before judge every report alike."""
    return time + max((one.lateness for one in catalog.types.values()), default=0)


def _catalogs(before: Lineage, changes: Changes, time: int) -> tuple[Listing, ...]:
    found = before.listings(time)
    ends = {one.id: None for one in changes.listed} | dict(changes.delisted)
    for catalog in changes.listed:
        found.setdefault(catalog.id, Listing(catalog.id, time))
    for catalog_id, end in ends.items():
        one = found.get(catalog_id)
        if end is None or changes.exactly or one is None or one.delisted is None:
            found[catalog_id] = _ended(one, catalog_id, end)
    kept = found.values()
    if len(kept) > LISTED_MAX:
        raise ConfigError(
            "too-many-catalogs",
            f"a record lists at most {LISTED_MAX} catalogs, this one would list {len(kept)}",
            "a delisted catalog leaves the list a year after its end: wait for that, or use a new "
            "key; to end an event type, revoke it instead of signing a catalog",
        )
    return tuple(sorted(kept, key=lambda one: one.catalog))


def _ended(one: Listing | None, catalog_id: bytes, end: int | None) -> Listing:
    """Returns the listing with this end. Raises ConfigError if it has another one."""
    short = catalog_id.hex()[:16]
    if one is None:
        raise ConfigError(
            "unlisted-catalog",
            f"the catalog {short} is not listed",
            "see the list with: methrics namespace status --relay ADDRESS CATALOG",
        )
    if one.delisted is not None and end != one.delisted:
        since = datetime.fromtimestamp(one.delisted, UTC)
        raise ConfigError(
            "delisted-already",
            f"the catalog {short} is delisted from {since:%Y-%m-%d %H:%M} UTC, which stays",
            "leave it out, or sign the catalog again as a new version and list that",
        )
    return Listing(catalog_id, one.listed, None if end is None else max(end, one.listed + 1))


def _settled(before: Lineage) -> int | None:
    """Until when contradictions are settled: as before, or until the newest of several parents."""
    times = [one.record.settled for one in before.found if one.record.settled is not None]
    if len(before.parents) > 1:
        times += [one.record.time for one in before.parents]
    return max(times, default=None)


def _revoked(before: Lineage, changes: Changes) -> dict[str, Revoked]:
    found = before.revoked
    for name, one in changes.revoked.items():
        if name not in found or one.time < found[name].time:
            found[name] = one
    if len(found) > REVOKED_MAX:
        raise ConfigError("too-many-revoked", f"a record revokes at most {REVOKED_MAX} event types")
    return dict(sorted(found.items()))
