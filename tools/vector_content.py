"""Scenarios with valid bytes: accepted items, wrong content, circumstances, bundles."""

from __future__ import annotations

from collections.abc import Iterator

from vector_world import (
    CATALOG,
    NEW,
    OS,
    TIME,
    Scenario,
    World,
    event_type,
    malleable,
    protected,
    seed,
    sign_by_hand,
)

from methrics.schema.wire.bundle import pack
from methrics.schema.wire.codec import encode, head
from methrics.schema.wire.envelope import Kind, seal, split


def accepted(w: World) -> Iterator[Scenario]:
    yield "ok-report", "a report of a state", {"bytes": w.report()}
    yield (
        "ok-report-fewer-fields",
        "a field that is not shared",
        {"bytes": w.report(values={"new": False})},
    )
    click = w.report(type="click", count=7, values={"os": "other"})
    yield "ok-report-count", "a count", {"bytes": click}
    steps = [["open", 0], ["done", 2]]
    flow = w.report(type="flow", sequence=steps, values={})
    yield "ok-report-sequence", "a sequence, no field shared", {"bytes": flow}
    rare = w.report(type="rare", one_in=10, values={"os": "linux"})
    yield "ok-report-sampled", "a sampled report", {"bytes": rare}
    stamped = w.report(type="stamped", values={"os": "linux"}, work_bits=8)
    yield "ok-report-work", "a report with its work stamp", {"bytes": stamped}
    yield (
        "ok-report-last-moment",
        "exactly as late as allowed",
        {"bytes": w.report(), "now": TIME + 21 * 86_400},
    )
    yield (
        "ok-report-skewed-clock",
        "in the future within tolerance",
        {"bytes": w.report(), "now": TIME - 300},
    )
    yield (
        "ok-report-history",
        "long past, obtained as history",
        {
            "bytes": w.report(),
            "now": TIME + 86_400 * 300,
            "live": False,
        },
    )
    yield "ok-report-on-topic", "heard on its own topic", {"bytes": w.report(), "topic": w.topic}
    yield (
        "ok-report-before-revocation",
        "older than the revocation of its type",
        {
            "bytes": w.report(time=TIME - 600),
            "revocations": [w.revocation()],
        },
    )
    yield "ok-erasure", "an erasure by the report's key", {"bytes": w.erasure()}
    yield "ok-catalog", "a catalog", {"bytes": w.catalog, "catalogs": []}
    yield "ok-revocation", "a revocation", {"bytes": w.revocation()}
    yield "ok-announcement", "an announcement", {"bytes": w.announcement()}
    future = w.announcement(mood=[1, {"good": True}])
    yield (
        "ok-announcement-unknown-key",
        "a key of a later version is passed over",
        {"bytes": future},
    )


def content(w: World) -> Iterator[Scenario]:
    def report(name: str, says: str, **change: object) -> Scenario:
        return name, says, {"bytes": w.report(**change)}  # type: ignore[arg-type]

    linux = {"os": "linux"}
    yield report("off-schema-unknown-type", "a type the catalog does not declare", type="pong")
    yield report(
        "off-schema-unknown-field", "a field the type does not declare", values={"name": "eve"}
    )
    yield report("off-schema-unknown-value", "a value outside the enum", values={"os": "plan9"})
    yield report("off-schema-number-for-flag", "1 for true", values={"new": 1})
    yield report("off-schema-flag-for-number", "true for 1", values={"size": True})
    yield report("off-schema-bucket-out-of-range", "bucket 4 of 0..3", values={"size": 4})
    yield report("off-schema-negative-bucket", "bucket -1", values={"size": -1})
    yield report("off-schema-nested-value", "an array as value", values={"os": ["linux"]})
    yield report("off-schema-count-misplaced", "a count in a state", count=2)
    yield report("off-schema-count-missing", "a count type without one", type="click", values=linux)
    yield report(
        "off-schema-count-too-large",
        "over the declared maximum",
        type="click",
        values=linux,
        count=1001,
    )
    yield report(
        "off-schema-not-sampled",
        "one in 7, which is not declared",
        type="rare",
        values=linux,
        one_in=7,
    )
    yield report("empty-sequence", "no steps", type="flow", values=linux)
    yield report(
        "off-schema-unknown-step",
        "an undeclared step",
        type="flow",
        values={},
        sequence=[["quit", 0]],
    )
    back = [["open", 2], ["done", 1]]
    yield report(
        "off-schema-sequence-backwards", "time goes back", type="flow", values={}, sequence=back
    )
    yield report(
        "off-schema-sequence-too-long",
        "five steps of four",
        type="flow",
        values={},
        sequence=[["open", 0]] * 5,
    )
    yield from _shapes(w)
    yield report("malformed-unknown-key", "a key that reports do not have", user="eve")
    yield report("malformed-time-missing", "no time", time=None)
    yield report(
        "malformed-one-in-default", "the default written out", type="rare", values=linux, one_in=1
    )
    yield report("malformed-count-zero", "a count of nothing", type="click", values=linux, count=0)
    yield report("malformed-catalog-short", "31 bytes for a catalog id", catalog=bytes(31))
    yield report("malformed-time-negative", "a time before 1970", time=-600)
    yield report("malformed-time-huge", "a time after the year 9999", time=2**40 * 600)
    yield report("empty-values", "no value at all", values={})
    yield report("unrounded-report", "a time that is no multiple of 600", time=TIME + 1)
    yield report("unrounded-day", "coarser resolution declared", type="daily", values=linux)
    yield report("no-work-stamp", "no work stamp", type="stamped", values=linux)
    weak = next(
        raw
        for n in range(256)
        if split(
            raw := sign_by_hand(
                b"\xa4" + protected()[1:] + b"\x64work" + head(0, n),
                encode(w.body(type="stamped", values=linux)),
            )
        ).id[0]
    )
    yield "no-work-enough", "a stamp with too few zero bits", {"bytes": weak}
    stamp = seal(Kind.REPORT, encode(w.body()), seed("report"), work_bits=1)
    yield "off-schema-work-misplaced", "a stamp that the type does not ask for", {"bytes": stamp}
    yield (
        "oversize-report",
        "a report of 1025 bytes",
        {
            "bytes": sign_by_hand(protected(), bytes(1025 - 114)),
        },
    )
    yield "oversize-item", "65,537 zero bytes", {"bytes": bytes(65_537)}


def _shapes(w: World) -> Iterator[Scenario]:
    """Payloads at the limit of a report's shape, and payloads that only the catalog refuses."""
    for name, says, change in (
        ("malformed-values-array", "an array for values", {"values": []}),
        ("off-schema-values-map", "a map as value", {"values": {"os": {"is": "linux"}}}),
        ("off-schema-values-bytes", "bytes as value", {"values": {"os": b"linux"}}),
        ("off-schema-values-large", "bucket 2^64 - 1", {"values": {"size": 2**64 - 1}}),
        ("malformed-count-text", "a text for a count", {"type": "click", "count": "7"}),
        ("malformed-count-flag", "true for a count", {"type": "click", "count": True}),
        ("malformed-sequence-empty", "a sequence without steps", {"sequence": []}),
        ("malformed-sequence-map", "a map for a sequence", {"sequence": {}}),
        ("malformed-sequence-step", "a step without offset", {"sequence": [["open"]]}),
        ("malformed-sequence-offset", "an offset of -1", {"sequence": [["open", -1]]}),
        ("malformed-sequence-flag", "false for an offset", {"sequence": [["open", False]]}),
        ("off-schema-sequence-offset", "offset 3 of 0..2", {"sequence": [["open", 3]]}),
    ):
        of_flow = {"type": "flow", "values": {}} if "sequence" in change else {}
        yield name, says, {"bytes": w.report(**of_flow, **change)}  # type: ignore[arg-type]
    misplaced = w.report(sequence=[["open", 0]])
    yield "off-schema-sequence-misplaced", "a sequence in a state", {"bytes": misplaced}


def _announcements(w: World) -> Iterator[Scenario]:
    """The order of faults, the length of texts, and the expiry of announcements."""
    news = {"text": "Version 2 is out.", "url": "http://example.org/2"}
    for name, says, change in (
        ("malformed-announcement-url", "a url without https", {"news": [news]}),
        (
            "malformed-announcement-two-faults",
            "that, and an interval under a day, and a time to the second",
            {"news": [news], "report_interval": 600, "time": TIME + 1},
        ),
        (
            "off-schema-announcement-two-faults",
            "an interval under a day, and a time to the second",
            {"report_interval": 600, "time": TIME + 1},
        ),
        ("malformed-announcement-at-once", "ends when it starts", {"expires": TIME}),
        ("malformed-announcement-before", "ends before it starts", {"expires": TIME - 600}),
        ("malformed-announcement-endless", "no end", {"expires": None}),
        ("malformed-announcement-interval", "an interval of -1", {"report_interval": -1}),
        ("ok-announcement-version-64", "64 bytes in 32 characters", {"newest_version": "µ" * 32}),
        (
            "malformed-announcement-version-65",
            "65 bytes in 33 characters",
            {"newest_version": "µ" * 32 + "s"},
        ),
        ("ok-announcement-news-500", "500 bytes", {"news": [{"text": "µ" * 250}]}),
        ("malformed-announcement-news-501", "501", {"news": [{"text": "µ" * 250 + "s"}]}),
        ("malformed-announcement-news-nine", "nine news", {"news": [{"text": "a"}] * 9}),
        ("ok-announcement-selector", "no value fits", {"selector": {"os": []}}),
        (
            "malformed-announcement-selector",
            "33 values of one fact",
            {"selector": {"os": [f"v{n}" for n in range(33)]}},
        ),
    ):
        yield name, says, {"bytes": w.announcement(**change)}
    body = {"type": "ping", "time": TIME, "reason": "µ" * 100}
    yield "ok-revocation-reason-200", "200 bytes", {"bytes": w.namespace(Kind.REVOCATION, body)}
    body["reason"] = "µ" * 100 + "s"
    raw = w.namespace(Kind.REVOCATION, body)
    yield "malformed-revocation-reason-201", "201 bytes in 101 characters", {"bytes": raw}
    for name, says, payload in (
        ("malformed-revocation-array", "an array as payload", b"\x80"),
        ("malformed-revocation-key", "an unknown key", encode(body | {"reason": "", "user": 1})),
    ):
        yield name, says, {"bytes": seal(Kind.REVOCATION, payload, seed("namespace"))}


def circumstance(w: World) -> Iterator[Scenario]:
    yield "early-report", "301 s in the future", {"bytes": w.report(), "now": TIME - 301}
    yield (
        "late-report",
        "a second over 21 days old",
        {"bytes": w.report(), "now": TIME + 21 * 86_400 + 1},
    )
    forged = malleable(w.report())
    yield (
        "forged-though-late",
        "rejected by all, whatever their clock",
        {"bytes": forged, "now": TIME + 86_400 * 99},
    )
    yield (
        "unknown-catalog-report",
        "nobody knows its catalog",
        {"bytes": w.report(), "catalogs": []},
    )
    yield (
        "forged-of-unknown-catalog",
        "rejected with or without it",
        {"bytes": forged, "catalogs": []},
    )
    yield "unknown-catalog-erasure", "an erasure", {"bytes": w.erasure(), "catalogs": []}
    yield (
        "unknown-catalog-revocation",
        "a namespace nobody knows",
        {"bytes": w.revocation(), "catalogs": []},
    )
    yield (
        "revoked-report",
        "as old as the revocation",
        {"bytes": w.report(), "revocations": [w.revocation()]},
    )
    over = w.report(type="over", values={"os": "linux"})
    yield "expired-report", "a report of an expired type", {"bytes": over}
    end = {"bytes": w.announcement(), "now": TIME + 86_400 * 30}
    yield "expired-announcement", "an announcement at its end", end
    yield (
        "early-announcement",
        "one from the future",
        {"bytes": w.announcement(), "now": TIME - 600},
    )
    yield "early-erasure", "an erasure from the future", {"bytes": w.erasure(), "now": TIME - 600}
    elsewhere = "/methrics/1/vectors-aaaaaaaaaaaaaaaa/cbor"
    for name in ("report", "erasure", "revocation", "announcement"):
        raw = getattr(w, name)()
        yield f"foreign-{name}", "on another namespace's topic", {"bytes": raw, "topic": elsewhere}
    yield (
        "foreign-catalog",
        "on another namespace's topic",
        {"bytes": w.catalog, "topic": elsewhere},
    )
    label = w.topic.replace("vectors", "victors")
    yield "foreign-label", "on a topic with another label", {"bytes": w.catalog, "topic": label}
    yield (
        "off-schema-interval",
        "reports more than once a day",
        {"bytes": w.announcement(report_interval=86_399)},
    )
    yield (
        "malformed-news",
        "an escape sequence in news",
        {
            "bytes": w.announcement(news=[{"text": "\x1b[2J"}]),
        },
    )
    yield from _announcements(w)
    yield "unrounded-announcement", "a time to the second", {"bytes": w.announcement(time=TIME + 1)}
    yield "unrounded-revocation", "a time to the second", {"bytes": w.revocation(time=TIME + 1)}
    no_types = w.namespace(Kind.CATALOG, CATALOG | {"types": {}})
    yield "off-schema-catalog-empty", "a catalog without types", {"bytes": no_types, "catalogs": []}
    free = CATALOG | {"types": {"t": event_type("event", fields=[{**NEW, "type": "text"}])}}
    yield (
        "off-schema-catalog-free-text",
        "a field of free text",
        {
            "bytes": w.namespace(Kind.CATALOG, free),
            "catalogs": [],
        },
    )
    yield from _random(w)
    broken = w.namespace(Kind.CATALOG, CATALOG | {"number": 2})
    yield (
        "off-schema-catalog-chain",
        "number 2 without a predecessor",
        {"bytes": broken, "catalogs": []},
    )


def _random(w: World) -> Iterator[Scenario]:
    """Catalogs with randomized fields, where these are allowed and where not."""
    first = {"name": "first", "type": "flag", "source": "first_of_month", "says": "Whether first."}
    version = {"name": "version", "type": "version", "max": [9, 9], "says": "Which version."}
    for name, says, field in (
        ("ok-catalog-random", "a field answered at random", {**OS, "randomize": 1000}),
        ("off-schema-catalog-random-never", "an epsilon of nothing", {**OS, "randomize": 99}),
        ("off-schema-catalog-random-always", "an epsilon of 10.001", {**OS, "randomize": 10_001}),
        ("off-schema-catalog-random-type", "on a version", {**version, "randomize": 1000}),
        ("off-schema-catalog-random-source", "on a source", {**first, "randomize": 1000}),
    ):
        fields = [field] if "source" in field else [first, field]
        types = {"t": event_type("state", fields=fields)}
        raw = w.namespace(Kind.CATALOG, CATALOG | {"types": types})
        yield name, says, {"bytes": raw, "catalogs": []}


def bundles(w: World) -> Iterator[Scenario]:
    one, two = w.report(), w.report(name="other")
    stranger = w.report(name="third", catalog=bytes(32))
    cases = {
        "ok-bundle": ("two reports", pack([one, two])),
        "ok-bundle-catalog-first": ("a catalog and a report of it", pack([w.catalog, one])),
        "ok-bundle-item-twice": ("one report twice", pack([one, one])),
        "forged-in-bundle": ("one bad item of two", pack([one, malleable(two)])),
        "ok-bundle-twice-then-early": (
            "one report twice, and an early one",
            pack([one, one, w.report(time=TIME + 1200)]),
        ),
        "malformed-in-bundle-after-twice": (
            "one report twice, and then no item",
            pack([one, one, b"no item"]),
        ),
        "ok-bundle-one-early": ("one early item of two", pack([one, w.report(time=TIME + 1200)])),
        "unknown-catalog-in-bundle": ("one item that we cannot vouch for", pack([one, stranger])),
        "unknown-kind-in-bundle": (
            "one kind that we do not know",
            pack([one, sign_by_hand(protected(kind=9), b"")]),
        ),
        "malformed-bundle-empty": ("no item", b"\x80"),
        "malformed-bundle-trailing-byte": ("a byte behind it", pack([one]) + b"\x00"),
        "malformed-bundle-cut-short": ("the last byte missing", pack([one])[:-1]),
        "malformed-bundle-long-count": ("a count in two bytes", b"\x98\x01" + pack([one])[1:]),
        "malformed-bundle-indefinite": (
            "an array of indefinite length",
            b"\x9f" + pack([one])[1:] + b"\xff",
        ),
        "malformed-bundle-bare-item": ("an item without bundle", one),
        "malformed-bundle-text": ("text for an item", b"\x81\x61a"),
        "oversize-bundle-items": ("1,025 items", b"\x99\x04\x01" + b"\x41\x00" * 1025),
        "oversize-bundle-count": ("2**64 - 1 items", b"\x9b" + b"\xff" * 8),
        "oversize-bundle": ("131,073 bytes", bytes(131_073)),
    }
    for name, (says, raw) in cases.items():
        known = [] if name == "ok-bundle-catalog-first" else ["ok-catalog"]
        yield name, says, {"bundle": raw, "catalogs": known}
    yield "duplicate-bundle", "nothing new", {"bundle": pack([one]), "seen": [one]}
    around = {"bundle": pack([one, w.revocation(), one])}
    yield "ok-bundle-twice-around-revocation", "a report before and after its revocation", around
    early = w.report(time=TIME + 1200)
    forgotten = {"bundle": pack([w.catalog, early]), "seen": [w.catalog], "catalogs": []}
    yield "duplicate-bundle-forgotten-catalog", "a catalog that the node forgot", forgotten
    yield "ok-bundle-half-new", "one new, one known", {"bundle": pack([one, two]), "seen": [one]}
    spoilt = pack([malleable(one), two])
    yield (
        "forged-known-id",
        "a known id under a bad signature",
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
            "known, and on another namespace's topic",
            {"bundle": pack([raw]), "seen": [raw], "topic": topic},
        )
    again = {"bundle": pack([one]), "seen": [one], "topic": w.topic}
    yield "duplicate-on-topic", "known, and on its own topic", again
    huge = b"\x81\x5a\x00\x01\x00\x01"
    yield "oversize-bundle-item", "an item of 65,537 bytes, cut short", {"bundle": huge}
    small = b"\x82\x41"
    yield "malformed-bundle-first-fault", "cut short before it", {"bundle": small + huge[1:]}
