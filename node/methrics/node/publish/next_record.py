"""Makes the next record of a namespace from the ones before and the owner's changes (pure).

The next record keeps what the ones before say, and names each of them as its predecessor. If there
are two, because a copy of the key signed on its own, the next record heals that: it has the
catalogs and the revocations of both, and says that everything until their time is settled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.limits import EARLY_MAX, LISTED_MAX, PERIOD_MAX, REVOKED_MAX
from methrics.schema.wire.record import Listing, Record, Revoked

Heads = Sequence[tuple[Item, Record]]
"""The records that no later one names: none, the newest, or those of an equivocation."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What the owner changes. `listed`: catalogs to list from now on. `delisted`: by catalog id,
    the time from which reports are not accepted any more (Unix seconds). `revoked`: event types to
    revoke, by name."""

    listed: Sequence[Catalog] = ()
    delisted: Mapping[bytes, int] = field(default_factory=dict)
    revoked: Mapping[str, Revoked] = field(default_factory=dict)


def next_record(heads: Heads, changes: Changes, *, now: int, expires: int) -> Record:
    """Returns the record that follows `heads`, valid until `expires` (Unix seconds).

    Raises ConfigError `record-from-future` if a record before has a time that the network does not
    accept yet, `bad-expiry`, `unlisted-catalog` for a catalog to delist that is not listed,
    `delisted-already` for one whose end is set, to another time, and `too-many-catalogs` or
    `too-many-revoked`.
    """
    time = max([now, *(record.time + 1 for _, record in heads)])
    if time > now + EARLY_MAX:
        raise ConfigError(
            "record-from-future",
            "the record before has a time in the future",
            "check this machine's clock; the network accepts no record from the future",
        )
    if expires <= time:
        raise ConfigError("bad-expiry", "the record would have expired already", "give --expires")
    revoked = _revoked(heads, changes)
    return Record(
        time=time,
        expires=expires,
        previous=tuple(sorted(item.id for item, _ in heads)),
        catalogs=_catalogs(heads, changes, time),
        revoked=revoked,
        settled=_settled(heads),
    )


def least_delisting(catalog: Catalog, time: int) -> int:
    """Returns the earliest time at which a record of `time` may delist `catalog`: its longest
    lateness later, so that nodes which have the record before judge every report alike."""
    return time + max((one.lateness for one in catalog.types.values()), default=0)


def _catalogs(heads: Heads, changes: Changes, time: int) -> tuple[Listing, ...]:
    found: dict[bytes, Listing] = {}
    for _, record in heads:
        for one in record.catalogs:
            before = found.get(one.catalog)
            found[one.catalog] = one if before is None else _both(before, one)
    found = {one.catalog: one for one in found.values() if not _over(one, time)}
    ends = {one.id: None for one in changes.listed} | dict(changes.delisted)
    for catalog in changes.listed:
        found.setdefault(catalog.id, Listing(catalog.id, time))
    for catalog_id, end in ends.items():
        found[catalog_id] = _ended(found.get(catalog_id), catalog_id, end)
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
            "see the list with: methrics namespace status",
        )
    if one.delisted is not None and end != one.delisted:
        since = datetime.fromtimestamp(one.delisted, UTC)
        raise ConfigError(
            "delisted-already",
            f"the catalog {short} is delisted from {since:%Y-%m-%d %H:%M} UTC, which stays",
            "leave it out, or sign the catalog again as a new version and list that",
        )
    return Listing(catalog_id, one.listed, None if end is None else max(end, one.listed + 1))


def _both(first: Listing, second: Listing) -> Listing:
    ends = (first.delisted, second.delisted)
    end = None if ends[0] is None or ends[1] is None else max(ends[0], ends[1])
    return Listing(first.catalog, min(first.listed, second.listed), end)


def _over(one: Listing, time: int) -> bool:
    """Whether no report under a delisted catalog can arrive any more, whatever its lateness."""
    return one.delisted is not None and one.delisted + PERIOD_MAX < time


def _settled(heads: Heads) -> int | None:
    """Until when contradictions are settled: as before, or until the newest of several heads."""
    times = [record.settled for _, record in heads if record.settled is not None]
    if len(heads) > 1:
        times += [record.time for _, record in heads]
    return max(times, default=None)


def _revoked(heads: Heads, changes: Changes) -> dict[str, Revoked]:
    found: dict[str, Revoked] = {}
    for revoked in [*(record.revoked for _, record in heads), changes.revoked]:
        for name, one in revoked.items():
            if name not in found or one.time < found[name].time:
                found[name] = one
    if len(found) > REVOKED_MAX:
        raise ConfigError("too-many-revoked", f"a record revokes at most {REVOKED_MAX} event types")
    return dict(sorted(found.items()))
