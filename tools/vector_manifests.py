"""Manifests of an aggregator: read, or refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator

from vector_world import NOW, TIME, Scenario, World, malleable, protected, seed, sign_by_hand

from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Kind, public_key, seal
from methrics.schema.wire.limits import COUNTED_MAX
from methrics.schema.wire.manifest import erasures_digest, read_manifest, reports_digest

DAY = TIME // 86_400 - 30


def manifest_body(w: World, **change: object) -> dict[str, object]:
    """A manifest's payload as a map, of a closed day; None removes a key."""
    key = public_key(seed("namespace"))
    count, digest = reports_digest(key, DAY, [bytes(31) + b"\x01", bytes(31) + b"\x02"])
    erasures, gone = erasures_digest(key, DAY, [bytes(31) + b"\x03"])
    body: dict[str, object] = {
        "namespace": key,
        "day": DAY,
        "as_of": TIME,
        "closed": True,
        "count": count,
        "digest": digest,
        "late": 1,
        "erasures": erasures,
        "erasures_digest": gone,
        "record": bytes(32),
    }
    return {name: value for name, value in (body | change).items() if value is not None}


def sealed_manifest(w: World, **change: object) -> bytes:
    """A manifest signed by an aggregator, valid unless changed; None removes a key."""
    return seal(Kind.MANIFEST, encode(manifest_body(w, **change)), seed("aggregator"))


def manifests(w: World) -> Iterator[Scenario]:
    """Manifests by themselves, with what a reader gets from them."""
    for name, says, raw, now in (*_good(w), *_bad(w)):
        yield name, says, {"bytes": raw, "now": now, "expect": _expected(raw, now)}


def _expected(raw: bytes, now: int | None) -> dict[str, object]:
    try:
        item, found = read_manifest(raw, now)
    except RefusedError as error:
        return {"result": error.code}
    return {
        "result": "ok",
        "id": item.id,
        "signer": item.key,
        "namespace": found.namespace,
        "day": found.day,
        "as_of": found.as_of,
        "closed": found.closed,
        "count": found.count,
        "late": found.late,
        "erasures": found.erasures,
    } | ({} if found.shard.is_whole else {"shard": found.shard.part})


_Manifest = tuple[str, str, bytes, int | None]


def _good(w: World) -> Iterator[_Manifest]:
    yield "ok-closed", "a closed manifest", sealed_manifest(w), NOW
    open_ = sealed_manifest(w, closed=False, late=0)
    yield "ok-open", "a manifest of a day that may still change", open_, NOW
    yield (
        "ok-no-record",
        "a manifest of a signer that knows no record",
        sealed_manifest(w, record=None),
        NOW,
    )
    yield "ok-skewed", "a manifest 300 s ahead", sealed_manifest(w, as_of=NOW + 300), NOW
    yield (
        "ok-file",
        "a manifest of the future, from a file",
        sealed_manifest(w, as_of=NOW + 301),
        None,
    )
    yield "ok-shard", "a manifest of shard 2 of 4", sealed_manifest(w, shard=[2, 4]), NOW
    last = sealed_manifest(w, shard=[16, 16])
    yield "ok-shard-last", "a manifest of the last of sixteen shards", last, NOW
    none = sealed_manifest(w, count=0, late=0, digest=reports_digest(bytes(32), 0, ())[1])
    yield "ok-empty", "a closed day without reports", none, NOW
    yield (
        "ok-most",
        "the largest counts",
        sealed_manifest(w, count=COUNTED_MAX, late=COUNTED_MAX),
        NOW,
    )
    end = (DAY + 1) * 86_400
    yield "ok-at-once", "a day closed at its end", sealed_manifest(w, as_of=end), NOW


def _bad(w: World) -> Iterator[_Manifest]:
    yield "early-manifest", "a manifest 301 s ahead", sealed_manifest(w, as_of=NOW + 301), NOW
    yield "forged-signature", "a changed signature", malleable(sealed_manifest(w)), NOW
    body = encode(manifest_body(w))
    header = protected(Kind.MANIFEST, public_key(seed("aggregator")))
    yield "forged-signer", "a key that did not sign it", sign_by_hand(header, body), NOW
    other = sign_by_hand(header, body, name="aggregator", domain=b"methrics/2")
    yield "forged-domain", "a signature for another domain", other, NOW
    stamped = sign_by_hand(b"\xa4" + header[1:] + b"\x64work\x00", body, name="aggregator")
    yield "off-schema-work", "a manifest with a work stamp", stamped, NOW
    report = seal(Kind.REPORT, body, seed("aggregator"))
    yield "malformed-kind", "the payload of a manifest in a report", report, NOW
    over = seal(Kind.REPORT, body, seed("aggregator")).replace(b"\xfd\xe9", b"\xfd\xee", 1)
    yield "forged-kind", "a report's signature under a manifest", over, NOW
    huge = sign_by_hand(header, bytes(1024), name="aggregator")
    yield "oversize-manifest", "a manifest of more than 1,024 bytes", huge, NOW
    for name, says, change in (
        ("day-missing", "no day", {"day": None}),
        ("day-huge", "a day after the year 9999", {"day": 2_932_897}),
        ("as-of-huge", "a time after the year 9999", {"as_of": 253_402_300_800}),
        ("closed-number", "1 in place of true", {"closed": 1}),
        ("closed-early", "a day closed before its end", {"as_of": (DAY + 1) * 86_400 - 1}),
        ("count-flag", "true in place of a count", {"count": True, "late": 0}),
        ("count-huge", "a count of 2^53", {"count": COUNTED_MAX + 1}),
        ("count-negative", "a count of -1", {"count": -1, "late": 0}),
        ("late-more", "more late reports than reports", {"late": 3}),
        ("late-open", "late reports of a day that is open", {"closed": False}),
        ("digest-short", "a digest of 31 bytes", {"digest": bytes(31)}),
        ("erasures-missing", "no digest of the erasures", {"erasures_digest": None}),
        ("namespace-text", "text as the namespace", {"namespace": "vectors"}),
        ("record-short", "an id of a record of 31 bytes", {"record": bytes(31)}),
        ("shard-whole", "the whole named as a shard", {"shard": [1, 1]}),
        ("shard-third", "a third as a shard", {"shard": [1, 3]}),
        ("shard-zero", "shard 0", {"shard": [0, 4]}),
        ("shard-over", "shard 5 of 4", {"shard": [5, 4]}),
        ("shard-many", "shard 1 of 32", {"shard": [1, 32]}),
        ("shard-flag", "true in place of a number", {"shard": [True, 2]}),
        ("shard-long", "three numbers as a shard", {"shard": [1, 2, 0]}),
        ("shard-text", "a shard as text", {"shard": "1/2"}),
        ("unknown-key", "a key that is not known", {"mood": 1}),
    ):
        yield f"malformed-{name}", says, sealed_manifest(w, **change), NOW  # type: ignore[arg-type]
    bare = seal(Kind.MANIFEST, b"\x01", seed("aggregator"))
    yield "malformed-number", "a number as the payload", bare, NOW
