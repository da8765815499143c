"""Scenarios of bundles: of one catalog and notices, mixed ones, waiting ones, known items."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from vector_manifests import sealed_manifest
from vector_world import (
    ARTICLED,
    TIME,
    Scenario,
    World,
    malleable,
    protected,
    sign_by_hand,
)

from methrics.schema.wire.bundle import pack, pack_notice
from methrics.schema.wire.codec import head
from methrics.schema.wire.envelope import split, zero_bits

ELSEWHERE = "/methrics/1/vectors-aaaaaaaaaaaaaaaa/cbor"


def bundles(w: World) -> Iterator[Scenario]:
    yield from _of_one_catalog(w)
    yield from _mixed(w)
    yield from _layouts(w)
    yield from _waiting(w)
    yield from _notices(w)
    yield from _known(w)


def _of_one_catalog(w: World) -> Iterator[Scenario]:
    one, two, early = w.report(), w.report(name="other"), w.report(time=TIME + 1200)
    for name, says, items in (
        ("ok-bundle", "two reports", [one, two]),
        ("ok-bundle-with-erasure", "a report and an erasure of another", [two, w.erasure()]),
        ("ok-bundle-item-twice", "a report twice", [one, one]),
        ("forged-in-bundle", "a report and a forged report", [one, malleable(two)]),
        ("ok-bundle-twice-then-early", "a report twice, then an early report", [one, one, early]),
        ("ok-bundle-one-early", "a report and an early report", [one, early]),
        ("early-bundle", "an early report alone", [early]),
        (
            "malformed-in-bundle-after-twice",
            "a report twice, then bytes that are not an item",
            [one, one, b"no item"],
        ),
    ):
        yield name, says, {"bundle": w.bundle(*items)}


def _mixed(w: World) -> Iterator[Scenario]:
    """Bundles of one catalog with something else in them, which are refused whole."""
    one = w.report()
    other = w.other_catalog
    for name, says, item in (
        (
            "catalog-unknown",
            "a report of another catalog, which is not known",
            w.report(catalog=bytes(32)),
        ),
        ("catalog", "the catalog itself", w.catalog),
        ("other-catalog", "another catalog of the namespace", other),
        ("record", "a record", w.record()),
        ("announcement", "an announcement", w.announcement()),
        ("manifest", "a manifest of an aggregator", sealed_manifest(w)),
        ("kind", "an item of an unknown kind", sign_by_hand(protected(kind=9), b"")),
        ("erasure", "an erasure of another catalog", w.erasure(catalog=bytes(32))),
    ):
        for place, items in (("before", [item, one]), ("behind", [one, item])):
            yield (
                f"malformed-bundle-mixed-{name}-{place}",
                f"{says}, {place} a report",
                {"bundle": w.bundle(*items)},
            )
    yield (
        "malformed-bundle-mixed-known-item",
        "a report that is known, in a bundle of another catalog",
        {
            "bundle": pack(split(other).id, [one]),
            "seen": [one],
            "live": False,
            "catalogs": ["ok-catalog-other"],
        },
    )
    yield "ok-catalog-other", "a second catalog of the namespace", {"bytes": other, "live": False}


def _layouts(w: World) -> Iterator[Scenario]:
    one = w.report()
    good = w.bundle(one)
    about, item = b"\x58\x20" + w.catalog_id, good[35:]
    huge = b"\x5a\x00\x01\x00\x01"
    for name, says, raw in (
        ("malformed-bundle-empty", "a bundle of nothing", b"\x80"),
        ("malformed-bundle-head-alone", "a bundle of a catalog without items", b"\x81" + about),
        ("malformed-bundle-notice-empty", "a notice without an item", b"\x81\x40"),
        ("malformed-bundle-no-head", "a bundle that begins with its item", b"\x81" + item),
        ("malformed-bundle-head-short", "a head of 31 bytes", b"\x82\x58\x1f" + bytes(31) + item),
        ("malformed-bundle-head-long", "a head of 33 bytes", b"\x82\x58\x21" + bytes(33) + item),
        ("malformed-bundle-head-text", "text as the head", b"\x82\x60" + item),
        (
            "malformed-bundle-head-padded",
            "the length of the head in two bytes",
            b"\x82\x58\x00" + item,
        ),
        ("malformed-bundle-trailing-byte", "a byte behind the bundle", good + b"\x00"),
        ("malformed-bundle-cut-short", "a bundle without its last byte", good[:-1]),
        ("malformed-bundle-long-count", "the count in two bytes", b"\x98\x02" + good[1:]),
        (
            "malformed-bundle-indefinite",
            "an array of indefinite length",
            b"\x9f" + good[1:] + b"\xff",
        ),
        ("malformed-bundle-bare-item", "an item that is not in a bundle", one),
        ("malformed-bundle-text", "text in place of an item", b"\x82" + about + b"\x61a"),
        (
            "oversize-bundle-items",
            "a bundle of 1,025 items",
            b"\x99\x04\x02" + about + b"\x41\x00" * 1025,
        ),
        ("oversize-bundle-count", "a bundle that announces 2^64 - 1 items", b"\x9b" + b"\xff" * 8),
        ("oversize-bundle", "a bundle of 131,073 bytes", bytes(131_073)),
        ("oversize-bundle-head", "the head of a head of 65,537 bytes", b"\x82" + huge),
        ("oversize-bundle-item", "the head of an item of 65,537 bytes", b"\x82" + about + huge),
        (
            "malformed-bundle-first-fault",
            "a malformed item, before the head of an oversize item",
            b"\x83" + about + b"\x61a" + huge,
        ),
    ):
        yield name, says, {"bundle": raw}


def _waiting(w: World) -> Iterator[Scenario]:
    """Bundles that wait: for their catalog, or for a newer record."""
    one, two = w.report(), w.report(name="other")
    bundle, on = w.bundle(one, two), w.topic
    unknown: dict[str, object] = {"bundle": bundle, "catalogs": []}
    yield from (
        (
            "unknown-catalog-bundle",
            "a bundle of an unknown catalog, on no topic",
            {**unknown, "records": []},
        ),
        (
            "unknown-catalog-bundle-listed",
            "a bundle of an unknown catalog that the record lists",
            {**unknown, "topic": on},
        ),
        (
            "unlisted-bundle-unknown",
            "a bundle of an unknown catalog, and no record",
            {**unknown, "topic": on, "records": []},
        ),
        (
            "unlisted-bundle-invented",
            "a bundle of an unknown catalog that the record does not list",
            {**unknown, "topic": on, "records": ["ok-record-empty"]},
        ),
        (
            "unknown-catalog-bundle-history",
            "a bundle of an unknown catalog, read from a file",
            {**unknown, "topic": on, "records": [], "live": False},
        ),
        (
            "unknown-catalog-bundle-junk",
            "a bundle of an unknown catalog, of which nothing is judged",
            {"bundle": w.bundle(b"no item"), "catalogs": []},
        ),
        (
            "unlisted-bundle",
            "a bundle of a known catalog, and no record",
            {"bundle": bundle, "records": []},
        ),
        (
            "unlisted-bundle-newest",
            "a bundle of a known catalog that the newest record does not list",
            {"bundle": bundle, "records": ["ok-record", "ok-record-empty"]},
        ),
        (
            "unlisted-bundle-junk",
            "a bundle of an unlisted catalog, of which nothing is judged",
            {"bundle": w.bundle(one, b"no item"), "records": []},
        ),
        (
            "ok-bundle-erasures-unlisted",
            "an erasure of a known catalog, and no record",
            {"bundle": w.bundle(w.erasure()), "records": []},
        ),
        (
            "unlisted-bundle-with-erasure",
            "an erasure and a report of a known catalog, and no record",
            {"bundle": w.bundle(w.erasure(), two), "records": []},
        ),
        (
            "ok-bundle-listed-after",
            "a report before its catalog was listed, and one after",
            {
                "bundle": w.bundle(one, w.report(time=TIME + 600)),
                "records": ["ok-record-listed-after"],
                "now": TIME + 1200,
            },
        ),
        (
            "unlisted-bundle-listed-after",
            "a report before its catalog was listed, alone",
            {"bundle": w.bundle(one), "records": ["ok-record-listed-after"]},
        ),
        (
            "ok-bundle-delisted",
            "a report before its catalog was delisted, and one at that time",
            {
                "bundle": w.bundle(w.report(time=TIME - 600), one),
                "records": ["ok-record-delisted-at"],
            },
        ),
        (
            "unlisted-bundle-expired",
            "a report before the record expires, and one at that time: all wait",
            {
                "bundle": w.bundle(w.report(time=TIME - 600), one),
                "records": ["ok-record-expires-at"],
            },
        ),
        (
            "forged-in-bundle-expired",
            "a report at the time when the record expires, and a forged one",
            {"bundle": w.bundle(one, malleable(two)), "records": ["ok-record-expires-at"]},
        ),
        (
            "revoked-bundle",
            "a report of a revoked type",
            {"bundle": w.bundle(one), "records": ["ok-record-revoked"]},
        ),
        (
            "foreign-bundle-unlisted",
            "a bundle of an unlisted catalog of another topic",
            {"bundle": bundle, "records": [], "topic": ELSEWHERE},
        ),
    )


def _notices(w: World) -> Iterator[Scenario]:
    one = w.report()
    for name, says, given in (
        ("ok-notice-catalog", "a catalog", {"bundle": pack_notice(w.catalog), "catalogs": []}),
        ("ok-notice-record", "a record", {"bundle": pack_notice(w.record()), "records": []}),
        ("ok-notice-announcement", "an announcement", {"bundle": pack_notice(w.announcement())}),
        (
            "unlisted-notice-catalog",
            "a catalog that the record does not list, which waits for a newer record",
            {"bundle": pack_notice(w.catalog), "catalogs": [], "records": ["ok-record-empty"]},
        ),
        (
            "unknown-kind-notice",
            "an item of an unknown kind",
            {"bundle": pack_notice(sign_by_hand(protected(kind=9), b""))},
        ),
        ("malformed-notice-report", "a report", {"bundle": pack_notice(one)}),
        ("malformed-notice-erasure", "an erasure", {"bundle": pack_notice(w.erasure())}),
        ("malformed-notice-manifest", "a manifest", {"bundle": pack_notice(sealed_manifest(w))}),
        ("malformed-notice-junk", "bytes that are not an item", {"bundle": pack_notice(b"no")}),
        ("forged-notice", "a forged record", {"bundle": pack_notice(malleable(w.record()))}),
        (
            "early-notice",
            "a record from the future",
            {"bundle": pack_notice(w.record(time=TIME + 1800))},
        ),
    ):
        yield name, f"a notice: {says}", given  # type: ignore[misc]
    items = [b"\x59" + len(raw).to_bytes(2, "big") + raw for raw in (w.record(), w.catalog)]
    two = b"\x83\x40" + items[0] + items[1]
    yield "malformed-notice-two", "a notice of a record and a catalog", {"bundle": two}


def _known(w: World) -> Iterator[Scenario]:
    """Bundles with items that passed before."""
    one, two = w.report(), w.report(name="other")
    bundle = w.bundle(one)
    yield "duplicate-bundle", "a bundle of known items", {"bundle": bundle, "seen": [one]}
    half = {"bundle": w.bundle(one, two), "seen": [one]}
    yield "ok-bundle-half-new", "a known item and a new one", half
    spoilt = {"bundle": w.bundle(malleable(one), two), "seen": [one]}
    yield "forged-known-item", "a known item with a forged signature", spoilt
    stamp = w.report(type="stamped", values={"os": "linux"}, work_bits=8)
    yield _changed_nonce(w, stamp, two)
    for name, raw, topic in (
        ("report", one, ELSEWHERE),
        ("erasure", w.erasure(), ELSEWHERE),
        ("catalog", w.catalog, w.topic.replace("vectors", "victors")),
        ("record", w.record(), ELSEWHERE),
        ("announcement", w.announcement(), ELSEWHERE),
    ):
        notice = name not in ("report", "erasure")
        yield (
            f"foreign-known-{name}",
            f"{ARTICLED[name]} that is known, on the topic of another namespace",
            {
                "bundle": pack_notice(raw) if notice else w.bundle(raw),
                "seen": [raw],
                "topic": topic,
            },
        )
    for name, raw in (("catalog", w.catalog), ("record", w.record())):
        yield (
            f"duplicate-notice-{name}",
            f"{ARTICLED[name]} that is known",
            {"bundle": pack_notice(raw), "seen": [raw], "topic": w.topic},
        )
    yield (
        "duplicate-notice-forgotten-catalog",
        "a known catalog that the node no longer has, which takes effect again",
        {"bundle": pack_notice(w.catalog), "seen": [w.catalog], "catalogs": []},
    )
    again = {"bundle": bundle, "seen": [one], "topic": w.topic}
    yield "duplicate-on-topic", "a known report on the topic of its catalog", again


def _changed_nonce(w: World, stamp: bytes, two: bytes) -> Scenario:
    """A report with the id and signature of a known one, and another nonce that does the work."""
    item = split(stamp)
    for nonce in range(1 << 16):
        if nonce == item.work:
            continue
        fields = b"\xa4" + protected()[1:] + b"\x64work" + head(0, nonce)
        outer = head(2, len(fields)) + fields
        at = stamp.index(b"\xa0\x58")
        raw = b"\x84" + outer + stamp[at:]
        if zero_bits(sha256(split(raw).signed).digest()) >= 8:
            break
    return (
        "forged-known-nonce",
        "a known report under another nonce, which its id does not cover",
        {"bundle": w.bundle(raw, two), "seen": [stamp]},
    )
