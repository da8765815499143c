"""Encode, sign and read manifests: what an aggregator has of one namespace on one UTC day.

An aggregator signs a manifest with the key of its peer id, so that others can hold it to what it
said. A *closed* manifest says that the day is over: a report of the day that comes later needs the
word of several aggregators. A manifest is never edited; the same signer supersedes it by a later
one. It never travels in a bundle or a notice. Shapes and bounds are those of SPEC.md section
"Manifests".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import Item, Kind, sign_item, split, verify
from methrics.schema.wire.limits import COUNTED_MAX, DAY, EARLY_MAX, MANIFEST_MAX, TIME_MAX
from methrics.schema.wire.payloads import (
    allow_keys,
    checked,
    decode_map,
    id_of,
    number_of,
    refuse,
    time_of,
)
from methrics.schema.wire.sha256 import sha256
from methrics.schema.wire.shard import WHOLE, Shard, read_part
from methrics.schema.wire.verdict import Reason

_REPORTS_DOMAIN = b"methrics/1 digest"
_ERASURES_DOMAIN = b"methrics/1 erasures"
_KEYS = {"namespace", "day", "as_of", "closed", "count", "digest", "late", "record"}
_KEYS |= {"erasures", "erasures_digest", "shard"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one aggregator had of a namespace on one day, at the time `as_of` (Unix seconds).

    `namespace` is the namespace key (32 bytes), `day` is counted from 1970-01-01. `count` and
    `digest` are those of the day's reports, `erasures` and `erasures_digest` those of the erasures
    of the day's reports. `late` of the reports were taken in after the signer had first closed the
    day. `record` is the id of the newest record that it knew, or None.
    """

    namespace: bytes
    day: int
    as_of: int
    closed: bool
    count: int
    digest: bytes
    erasures: int
    erasures_digest: bytes
    late: int = 0
    record: bytes | None = None
    shard: Shard = WHOLE
    """The ids that all of it is about."""

    @property
    def coverage(self) -> float:
        """The share of the reports known now that the signer had when it closed the day: 0 to 1."""
        return 1.0 if not self.count else 1.0 - self.late / self.count


class SignedManifest(NamedTuple):
    """A manifest and the item that carries it. `item.key` is the key of the signer's peer id."""

    item: Item
    manifest: Manifest

    @property
    def about(self) -> tuple[bytes, bytes, int]:
        """The signer, the namespace key and the day: of these, only the newest manifest counts."""
        return self.item.key, self.manifest.namespace, self.manifest.day

    @property
    def rank(self) -> tuple[bool, int]:
        """What supersedes has a larger rank: a closed one any open one, then the later one."""
        return self.manifest.closed, self.manifest.as_of


def supersedes(new: SignedManifest, old: SignedManifest) -> bool:
    """Tell whether `new` takes the place of `old`, which the same signer made of the same day."""
    return new.about == old.about and new.rank > old.rank


def contradicts(one: SignedManifest, other: SignedManifest) -> bool:
    """Tell whether two closed manifests of a signer, of the same day and `as_of`, differ.

    They prove that the signer told two peers different things.
    """
    same = one.about == other.about and one.rank == other.rank
    return same and one.manifest.closed and one.item.id != other.item.id


def encode_manifest(manifest: Manifest) -> bytes:
    """Encode a manifest. Raises ValueError if `decode_manifest` would refuse the payload."""
    body: dict[str, object] = {
        "namespace": manifest.namespace,
        "day": manifest.day,
        "as_of": manifest.as_of,
        "closed": manifest.closed,
        "count": manifest.count,
        "digest": manifest.digest,
        "late": manifest.late,
        "erasures": manifest.erasures,
        "erasures_digest": manifest.erasures_digest,
    }
    if manifest.record is not None:
        body["record"] = manifest.record
    if not manifest.shard.is_whole:
        body["shard"] = manifest.shard.part
    return checked(body, decode_manifest)


def decode_manifest(payload: bytes) -> Manifest:
    """Decode a manifest. Raises RefusedError: OVERSIZE, MALFORMED."""
    body = decode_map(payload, MANIFEST_MAX)
    allow_keys(body, _KEYS)
    closed = body.get("closed")
    if type(closed) is not bool:
        refuse("closed is neither true nor false")
    day = number_of(body, "day", 0)
    if day > TIME_MAX // DAY:
        refuse("day is after the year 9999")
    found = Manifest(
        namespace=id_of(body, "namespace"),
        day=day,
        as_of=time_of(body, "as_of"),
        closed=closed,
        count=_count(body, "count"),
        digest=id_of(body, "digest"),
        erasures=_count(body, "erasures"),
        erasures_digest=id_of(body, "erasures_digest"),
        late=_count(body, "late"),
        record=id_of(body, "record") if "record" in body else None,
        shard=_shard(body["shard"]) if "shard" in body else WHOLE,
    )
    if found.late > (found.count if closed else 0):
        refuse("late counts reports that are not there, or of a day that is open")
    if closed and found.as_of < (day + 1) * DAY:
        refuse("a day is closed before its end")
    return found


def _shard(value: object) -> Shard:
    try:
        return read_part(value)
    except ValueError as error:
        refuse(str(error))


def _count(body: dict[str, object], name: str) -> int:
    number = number_of(body, name, 0)
    if number > COUNTED_MAX:
        refuse(f"{name} is over 2^53 - 1")
    return number


def sign_manifest(manifest: Manifest, seed: bytes) -> SignedManifest:
    """Sign a manifest with the key of a peer id, given by its seed (32 bytes).

    Raises ValueError if the manifest is not well formed.
    """
    item = sign_item(Kind.MANIFEST, encode_manifest(manifest), seed)
    return SignedManifest(item, manifest)


def read_manifest(raw: bytes, now: int | None = None) -> SignedManifest:
    """Check the bytes of a manifest. Whether its signer is to be believed is for the caller.

    `now` is in Unix seconds; None for one from a file. Raises RefusedError: as `split`; MALFORMED
    for another kind of item or a payload that is no manifest; OFF_SCHEMA for a work stamp; BAD_KEY,
    FORGED; EARLY if `as_of` is more than 300 s ahead of `now`, so that nobody can sign one today
    that no later one supersedes.
    """
    item = split(raw)
    if item.kind is not Kind.MANIFEST:
        refuse("the item is no manifest")
    if item.work is not None:
        raise RefusedError(Reason.OFF_SCHEMA, "only a report may have a work stamp")
    manifest = decode_manifest(item.payload)
    verify(item)
    if now is not None and manifest.as_of > now + EARLY_MAX:
        raise RefusedError(Reason.EARLY, "a manifest of the future")
    return SignedManifest(item, manifest)


def reports_digest(
    namespace: bytes, day: int, ids: Iterable[bytes | memoryview]
) -> tuple[int, bytes]:
    """Return count and digest of a day's reports.

    `ids` are chunks of whole ids of 32 bytes, in ascending order. A sum or XOR of hashes would be
    cheaper to update, but could be forged, because anyone can create ids.
    """
    return _digest(_REPORTS_DOMAIN, namespace, day, ids)


def erasures_digest(
    namespace: bytes, day: int, ids: Iterable[bytes | memoryview]
) -> tuple[int, bytes]:
    """Return count and digest of the erasures of a day's reports, by the ids of the erasures."""
    return _digest(_ERASURES_DOMAIN, namespace, day, ids)


def _digest(
    domain: bytes, namespace: bytes, day: int, ids: Iterable[bytes | memoryview]
) -> tuple[int, bytes]:
    state = sha256(domain + namespace + day.to_bytes(8, "big"))
    size = 0
    for piece in ids:
        state.update(piece)
        size += len(piece)
    state.update((size // 32).to_bytes(8, "big"))
    return size // 32, state.digest()
