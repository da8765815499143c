"""Encode and decode namespace records: which catalogs and event types of a namespace are in use.

The namespace key signs a record whenever its catalogs or revocations change, and before the last
record expires. The record with the latest time applies. Each record names the one before it, so two
records that name the same one prove that the key was used twice (`judging.records`). Shapes and
bounds are those of SPEC.md section "Records".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import Item, Kind, sign_item
from methrics.schema.wire.limits import (
    CONTACT_MAX,
    ISSUERS_MAX,
    LISTED_MAX,
    REASON_MAX,
    RECORD_MAX,
    RECORD_PREVIOUS_MAX,
    REVOKED_MAX,
    TIME_STEP,
)
from methrics.schema.wire.payloads import (
    ID_SIZE,
    allow_keys,
    checked,
    decode_map,
    id_of,
    list_of,
    refuse,
    text,
    time_of,
)
from methrics.schema.wire.reading import is_address, is_name
from methrics.schema.wire.verdict import Reason


@dataclass(frozen=True, slots=True)
class Listing:
    """A catalog (its id, 32 bytes) that is listed from `listed` until `delisted` (Unix seconds)."""

    catalog: bytes
    listed: int
    delisted: int | None = None


@dataclass(frozen=True, slots=True)
class Revoked:
    """Why reports of an event type from `time` (Unix seconds) on do not count any more."""

    time: int
    reason: str


@dataclass(frozen=True)
class Record:
    """What a namespace has in use, as of `time` and until `expires` (Unix seconds).

    `previous` are the ids of the records before, ascending; `catalogs` are ascending by id;
    `revoked` has event types by name. `settled`: the owner of the key has dealt with every
    contradiction among the records until that time. `next_key_hash`, `issuers` and `results` are
    reserved.
    """

    time: int
    expires: int
    previous: tuple[bytes, ...] = ()
    catalogs: tuple[Listing, ...] = ()
    revoked: Mapping[str, Revoked] = field(default_factory=dict)
    settled: int | None = None
    next_key_hash: bytes | None = None
    issuers: tuple[bytes, ...] = ()
    results: str | None = None

    @cached_property
    def listings(self) -> Mapping[bytes, Listing]:
        """The listings by catalog id."""
        return {listing.catalog: listing for listing in self.catalogs}

    @cached_property
    def periods(self) -> Mapping[bytes, tuple[int, int]]:
        """From when until when (Unix seconds) each catalog is listed, by id."""
        ends = {one.catalog: one.delisted for one in self.catalogs if one.delisted is not None}
        return {
            one.catalog: (one.listed, min(self.expires, ends.get(one.catalog, self.expires)))
            for one in self.catalogs
        }

    def listed_at(self, catalog_id: bytes, time: int, resolution: int) -> bool:
        """Tell whether the catalog is listed at some moment of a report's period.

        The period begins at the report's `time` and lasts `resolution` seconds.
        """
        period = self.periods.get(catalog_id)
        return period is not None and period[0] - resolution < time < period[1]

    def revoked_at(self, type: str, time: int) -> bool:
        """Tell whether a report of event type `type` with this `time` is revoked."""
        revoked = self.revoked.get(type)
        return revoked is not None and time >= revoked.time


def encode_record(record: Record) -> bytes:
    """Encode a record. Raises ValueError if `decode_record` would refuse the payload."""
    body: dict[str, object] = {
        "time": record.time,
        "expires": record.expires,
        "previous": record.previous,
        "catalogs": [_listing_body(listing) for listing in record.catalogs],
        "revoked": {
            name: {"time": revoked.time, "reason": revoked.reason}
            for name, revoked in record.revoked.items()
        },
    }
    if record.settled is not None:
        body["settled"] = record.settled
    if record.next_key_hash is not None:
        body["next"] = record.next_key_hash
    if record.issuers:
        body["issuers"] = record.issuers
    if record.results is not None:
        body["results"] = record.results
    return checked(body, decode_record)


def _listing_body(listing: Listing) -> dict[str, object]:
    body: dict[str, object] = {"catalog": listing.catalog, "listed": listing.listed}
    return body if listing.delisted is None else body | {"delisted": listing.delisted}


def decode_record(payload: bytes) -> Record:
    """Decode a record; unknown keys are ignored, so that later versions can add keys.

    Raises RefusedError: OVERSIZE, MALFORMED, and UNROUNDED for the time of a revocation.
    """
    body = decode_map(payload, RECORD_MAX)
    time, expires = time_of(body, "time"), time_of(body, "expires")
    if expires <= time:
        refuse("a record does not expire after its time")
    settled = time_of(body, "settled") if "settled" in body else None
    if settled is not None and settled >= time:
        refuse("a record settles what is not before it")
    for name in ("previous", "catalogs", "revoked"):
        if name not in body:
            refuse(f"a record lacks {name}")
    previous = tuple(_key(one) for one in list_of(body, "previous", RECORD_PREVIOUS_MAX))
    catalogs = tuple(map(_listing, list_of(body, "catalogs", LISTED_MAX)))
    _ascend(previous, "previous")
    _ascend([listing.catalog for listing in catalogs], "catalogs")
    results = body.get("results")
    record = Record(
        time=time,
        expires=expires,
        previous=previous,
        catalogs=catalogs,
        revoked=_revocations(body["revoked"]),
        settled=settled,
        next_key_hash=id_of(body, "next") if "next" in body else None,
        issuers=tuple(_key(one) for one in list_of(body, "issuers", ISSUERS_MAX)),
        results=None if "results" not in body else _address(results),
    )
    # Checked last, so that MALFORMED takes precedence over UNROUNDED.
    if any(revoked.time % TIME_STEP for revoked in record.revoked.values()):
        raise RefusedError(Reason.UNROUNDED, "the time of a revocation is not rounded")
    return record


def _listing(entry: object) -> Listing:
    if type(entry) is not dict:
        refuse("an entry of the catalogs is not a map")
    allow_keys(entry, {"catalog", "listed", "delisted"})
    listed = time_of(entry, "listed")
    delisted = time_of(entry, "delisted") if "delisted" in entry else None
    if delisted is not None and delisted <= listed:
        refuse("a catalog is not delisted after it was listed")
    return Listing(id_of(entry, "catalog"), listed, delisted)


def _revocations(body: object) -> dict[str, Revoked]:
    if type(body) is not dict or len(body) > REVOKED_MAX:
        refuse(f"the revoked types are not a map of at most {REVOKED_MAX} entries")
    found = {}
    for name, entry in body.items():
        if not is_name(name) or type(entry) is not dict:
            refuse("a revocation is not a name and a map")
        allow_keys(entry, {"time", "reason"})
        found[name] = Revoked(time_of(entry, "time"), text(entry.get("reason"), REASON_MAX))
    return found


def _key(value: object) -> bytes:
    if type(value) is not bytes or len(value) != ID_SIZE:
        refuse(f"an id or key does not have {ID_SIZE} bytes")
    return value


def _address(value: object) -> str:
    address = text(value, CONTACT_MAX)
    if not is_address(address):
        refuse("results is not an address such as https://example.org/charts")
    return address


def _ascend(ids: Iterable[bytes], name: str) -> None:
    last = b""
    for one in ids:
        if one <= last:
            refuse(f"{name} is not in ascending order, each once")
        last = one


def sign_record(
    catalogs: Iterable[bytes | Listing],
    seed: bytes,
    *,
    time: int,
    expires: int,
    previous: Iterable[bytes] = (),
    revoked: Mapping[str, Revoked] | None = None,
    delisted: Mapping[bytes, int] | None = None,
    settled: int | None = None,
) -> Item:
    """Sign a record with the namespace key of `seed` (32 bytes).

    `catalogs` are catalog ids or listings; an id is listed from the beginning of time until its
    entry in `delisted`, if it has one. Raises ValueError if the record is not well formed.
    """
    ends = delisted or {}
    listings = [
        one if isinstance(one, Listing) else Listing(one, 0, ends.get(one)) for one in catalogs
    ]
    record = Record(
        time=time,
        expires=expires,
        previous=tuple(sorted(previous)),
        catalogs=tuple(sorted(listings, key=lambda listing: listing.catalog)),
        revoked=revoked or {},
        settled=settled,
    )
    return sign_item(Kind.RECORD, encode_record(record), seed)
