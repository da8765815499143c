"""Scenarios on the border: what readers might refuse and must not, and which fault goes first."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha512

import vector_edwards as edwards
from vector_world import CATALOG, TIME, Scenario, World, event_type, seed

from methrics.schema.wire.bundle import pack, pack_notice
from methrics.schema.wire.envelope import Kind, split


def permitted_catalogs(w: World) -> Iterator[Scenario]:
    """Catalogs that look wrong, and are not."""
    os = {"name": "os", "type": "enum", "values": ["linux"], "says": "Your system."}
    age = {"name": "age", "type": "bucket", "edges": [1, 4, 24], "says": "How old."}
    since = {"name": "since", "type": "enum", "values": ["d0"], "says": "Days."}
    country = {"name": "country", "type": "country", "values": ["FR", "DE"], "says": "Where."}
    steps = {"steps": ["other", "time"], "offset_edges": [], "max_steps": 2}
    for name, says, kind, change in (
        ("step-other", "steps called other and time", "sequence", {"sequence": steps}),
        ("field-other", "a field called other", "event", {"fields": [os | {"name": "other"}]}),
        (
            "install-age-unit",
            "an installation's age with a unit of days, which only people read",
            "event",
            {"fields": [age | {"source": "install_age", "unit": "days"}]},
        ),
        (
            "milestone-first-day",
            "a milestone of the first day alone",
            "state",
            {"fields": [since | {"source": "milestone"}]},
        ),
        (
            "funnel-field",
            "a funnel by a field",
            "sequence",
            {"sequence": steps, "fields": [os], "chart": "funnel:os"},
        ),
        ("country-unsorted", "countries out of order", "event", {"fields": [country]}),
    ):
        types = {"t": event_type(kind, **change)}
        raw = w.namespace(Kind.CATALOG, CATALOG | {"types": types})
        yield f"ok-catalog-{name}", f"a catalog with {says}", {"bytes": raw, "catalogs": []}
    release = {"release": {"delay": 300, "jitter": 0}}
    raw = w.namespace(Kind.CATALOG, CATALOG | {"types": {"t": event_type("state", **release)}})
    yield (
        "off-schema-catalog-state-without-every",
        "a state without `every`",
        {"bytes": raw, "catalogs": []},
    )


def permitted(w: World) -> Iterator[Scenario]:
    """Other items and bundles that look wrong and are not, and faults in their order."""
    yield from _notices(w)
    yield from _order(w)
    yield from _again(w)


def _notices(w: World) -> Iterator[Scenario]:
    keys = [bytes([n]) * 32 for n in (2, 1, 1)]
    reason = {"ping": {"time": TIME, "reason": " "}}
    ahead = [w.listing(listed=TIME + 86_400 * 9)]
    barred = {"later\n": "\u202e"}
    for name, says, change in (
        ("issuers", "issuers that do not ascend, and one twice", {"issuers": keys}),
        ("listed-ahead", "a catalog that will be listed after its time", {"catalogs": ahead}),
        ("reason-blank", "a blank reason of a revocation", {"revoked": reason}),
        ("unknown-key-barred", "barred characters in an unknown key and its value", barred),
    ):
        raw = w.record(**change)
        yield f"ok-record-{name}", f"a record with {says}", {"bytes": raw, "records": []}
    raw = w.announcement(**barred, news=[{"text": "News.", **barred}])
    yield (
        "ok-announcement-unknown-key-barred",
        "barred characters in unknown keys and their values",
        {"bytes": raw},
    )
    late = w.announcement(expires=TIME + 86_401)
    yield "unrounded-announcement-expires", "an end at no multiple of 600", {"bytes": late}
    yield (
        "revoked-report-history-expired",
        "a report from a file, revoked by a record that has expired",
        {"bytes": w.report(), "records": ["ok-record-revoked-expired"], "live": False},
    )


def _order(w: World) -> Iterator[Scenario]:
    """Which of several faults is reported."""
    yield (
        "unknown-catalog-report-unrounded",
        "a report at no multiple of 600, of a catalog that is not known",
        {"bytes": w.report(catalog=bytes(32), time=TIME + 1)},
    )
    yield (
        "off-schema-report-unrounded",
        "an unrounded report with a value that is not declared: the value is reported",
        {"bytes": w.report(time=TIME + 1, values={"os": "beos"})},
    )
    yield (
        "empty-report-unrounded",
        "an unrounded report without values: that it is empty is reported",
        {"bytes": w.report(time=TIME + 1, values={})},
    )
    yield (
        "unlisted-bundle-history-expired",
        "a report from a file, and a record that never listed it and has expired: nothing waits",
        {
            "bundle": w.bundle(w.report()),
            "records": ["ok-record-empty-expired"],
            "live": False,
        },
    )
    early = w.report(time=TIME + 1200)
    yield (
        "early-bundle-twice",
        "an early report twice: each copy gets its reason",
        {"bundle": w.bundle(early, early)},
    )


def _again(w: World) -> Iterator[Scenario]:
    """Known items whose own signer has signed them a second time, otherwise."""
    for name, raw, signer in (
        ("erasure", w.erasure(), "report"),
        ("record", w.record(), "namespace"),
        ("announcement", w.announcement(), "namespace"),
    ):
        other = _signed_again(raw, signer)
        notice = name != "erasure"
        yield (
            f"duplicate-second-signature-{name}",
            f"a known {name} with another valid signature",
            {
                "bundle": pack_notice(other) if notice else pack(w.catalog_id, [other]),
                "seen": [raw],
                "topic": w.topic,
            },
        )
        forged = other[:-1] + bytes([other[-1] ^ 1])
        yield (
            f"forged-second-signature-{name}",
            f"a known {name} with another signature, which is wrong",
            {
                "bundle": pack_notice(forged) if notice else pack(w.catalog_id, [forged]),
                "seen": [raw],
                "topic": w.topic,
            },
        )
    one = w.erasure()
    yield (
        "ok-bundle-second-signature",
        "an erasure with two valid signatures: the second is a duplicate",
        {"bundle": w.bundle(one, _signed_again(one, "report"))},
    )


def _signed_again(raw: bytes, signer: str) -> bytes:
    """The item with another valid signature by the same key."""
    item = split(raw)
    nonce = int.from_bytes(sha512(b"second" + raw).digest(), "little") % edwards.L
    r = edwards.encode(edwards.times(nonce, edwards.BASE))
    h = edwards.challenge(r, item.key, item.signed)
    s = (nonce + h * edwards.secret_of(seed(signer))) % edwards.L
    return raw[:-64] + r + s.to_bytes(32, "little")
