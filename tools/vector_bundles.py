"""Scenarios of bundles: accepted, malformed, oversize, and with items that the node knows."""

from __future__ import annotations

from collections.abc import Iterator

from vector_world import ARTICLED, TIME, Scenario, World, malleable, protected, sign_by_hand

from methrics.schema.wire.bundle import pack


def bundles(w: World) -> Iterator[Scenario]:
    one, two = w.report(), w.report(name="other")
    stranger = w.report(name="third", catalog=bytes(32))
    cases = {
        "ok-bundle": ("two reports", pack([one, two])),
        "ok-bundle-catalog-first": ("a catalog and a report of it", pack([w.catalog, one])),
        "ok-bundle-item-twice": ("a report twice", pack([one, one])),
        "forged-in-bundle": ("a report and a forged report", pack([one, malleable(two)])),
        "ok-bundle-twice-then-early": (
            "a report twice, then an early report",
            pack([one, one, w.report(time=TIME + 1200)]),
        ),
        "malformed-in-bundle-after-twice": (
            "a report twice, then bytes that are not an item",
            pack([one, one, b"no item"]),
        ),
        "ok-bundle-one-early": (
            "a report and an early report",
            pack([one, w.report(time=TIME + 1200)]),
        ),
        "unknown-catalog-in-bundle": (
            "a report and one of an unknown catalog",
            pack([one, stranger]),
        ),
        "unknown-kind-in-bundle": (
            "a report and an item of an unknown kind",
            pack([one, sign_by_hand(protected(kind=9), b"")]),
        ),
        "malformed-bundle-empty": ("a bundle of no items", b"\x80"),
        "malformed-bundle-trailing-byte": ("a byte behind the bundle", pack([one]) + b"\x00"),
        "malformed-bundle-cut-short": ("a bundle without its last byte", pack([one])[:-1]),
        "malformed-bundle-long-count": (
            "the number of items in two bytes",
            b"\x98\x01" + pack([one])[1:],
        ),
        "malformed-bundle-indefinite": (
            "a bundle as an array of indefinite length",
            b"\x9f" + pack([one])[1:] + b"\xff",
        ),
        "malformed-bundle-bare-item": ("an item that is not in a bundle", one),
        "malformed-bundle-text": ("text in place of an item", b"\x81\x61a"),
        "oversize-bundle-items": ("a bundle of 1,025 items", b"\x99\x04\x01" + b"\x41\x00" * 1025),
        "oversize-bundle-count": ("a bundle that announces 2^64 - 1 items", b"\x9b" + b"\xff" * 8),
        "oversize-bundle": ("a bundle of 131,073 bytes", bytes(131_073)),
    }
    for name, (says, raw) in cases.items():
        known = [] if name == "ok-bundle-catalog-first" else ["ok-catalog"]
        yield name, says, {"bundle": raw, "catalogs": known}
    yield "duplicate-bundle", "a bundle of known items", {"bundle": pack([one]), "seen": [one]}
    around = {"bundle": pack([one, w.revocation(), one])}
    yield "ok-bundle-twice-around-revocation", "a report before and after its revocation", around
    early = w.report(time=TIME + 1200)
    forgotten = {"bundle": pack([w.catalog, early]), "seen": [w.catalog], "catalogs": []}
    yield (
        "duplicate-bundle-forgotten-catalog",
        "a known catalog that the node no longer has, and an early report",
        forgotten,
    )
    half = {"bundle": pack([one, two]), "seen": [one]}
    yield "ok-bundle-half-new", "a known item and a new one", half
    spoilt = pack([malleable(one), two])
    yield (
        "forged-known-id",
        "a known item with a forged signature",
        {"bundle": spoilt, "seen": [one]},
    )
    elsewhere = "/methrics/1/vectors-aaaaaaaaaaaaaaaa/cbor"
    label = w.topic.replace("vectors", "victors")
    for name, raw, topic in (
        ("report", one, elsewhere),
        ("erasure", w.erasure(), elsewhere),
        ("catalog", w.catalog, label),
        ("revocation", w.revocation(), elsewhere),
        ("announcement", w.announcement(), elsewhere),
    ):
        yield (
            f"foreign-known-{name}",
            f"{ARTICLED[name]} that is known, on the topic of another namespace",
            {"bundle": pack([raw]), "seen": [raw], "topic": topic},
        )
    again = {"bundle": pack([one]), "seen": [one], "topic": w.topic}
    yield "duplicate-on-topic", "a known report on the topic of its catalog", again
    huge = b"\x81\x5a\x00\x01\x00\x01"
    yield (
        "oversize-bundle-item",
        "the head of an item of 65,537 bytes, which is cut short",
        {"bundle": huge},
    )
    small = b"\x82\x41"
    yield (
        "malformed-bundle-first-fault",
        "a malformed first item, before the head of an oversize item",
        {"bundle": small + huge[1:]},
    )
