"""Scenarios with well-formed bytes: accepted items, wrong content, circumstances."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from vector_world import (
    ARTICLED,
    CATALOG,
    NEW,
    TIME,
    Scenario,
    World,
    event_type,
    malleable,
    protected,
    seed,
    sign_by_hand,
)

from methrics.schema.wire.codec import encode, head
from methrics.schema.wire.envelope import Kind, seal, split


def accepted(w: World) -> Iterator[Scenario]:
    yield "ok-report", "a report of an event type of kind state", {"bytes": w.report()}
    yield (
        "ok-report-fewer-fields",
        "a report without two of the declared fields",
        {"bytes": w.report(values={"new": False})},
    )
    click = w.report(type="click", count=7, values={"os": "other"})
    yield "ok-report-count", "a report with a count", {"bytes": click}
    steps = [["open", 0], ["done", 2]]
    flow = w.report(type="flow", sequence=steps, values={})
    yield "ok-report-sequence", "a report with a sequence and without fields", {"bytes": flow}
    rare = w.report(type="rare", one_in=10, values={"os": "linux"})
    yield "ok-report-sampled", "a sampled report", {"bytes": rare}
    stamped = w.report(type="stamped", values={"os": "linux"}, work_bits=8)
    yield "ok-report-work", "a report with its work stamp", {"bytes": stamped}
    yield (
        "ok-report-last-moment",
        "a report at the end of its type's lateness",
        {"bytes": w.report(), "now": TIME + 21 * 86_400},
    )
    yield (
        "ok-report-skewed-clock",
        "a report whose time is 300 s ahead of the clock",
        {"bytes": w.report(), "now": TIME - 300},
    )
    yield (
        "ok-report-history",
        "a report of 300 days ago, read from a file",
        {
            "bytes": w.report(),
            "now": TIME + 86_400 * 300,
            "live": False,
        },
    )
    yield (
        "ok-report-on-topic",
        "a report on the topic of its catalog",
        {"bytes": w.report(), "topic": w.topic},
    )
    yield (
        "ok-report-before-revocation",
        "a report older than the revocation of its type",
        {
            "bytes": w.report(time=TIME - 600),
            "records": ["ok-record-revoked"],
        },
    )
    yield "ok-erasure", "an erasure signed with the report's key", {"bytes": w.erasure()}
    yield "ok-catalog", "a catalog", {"bytes": w.catalog, "catalogs": []}
    yield (
        "ok-erasure-unlisted",
        "an erasure, which needs no record",
        {"bytes": w.erasure(), "records": []},
    )
    yield "ok-announcement", "an announcement", {"bytes": w.announcement()}
    future = w.announcement(mood=[1, {"good": True}])
    yield (
        "ok-announcement-unknown-key",
        "an announcement with an unknown key, which is ignored",
        {"bytes": future},
    )


def content(w: World) -> Iterator[Scenario]:
    def report(name: str, says: str, **change: object) -> Scenario:
        return name, says, {"bytes": w.report(**change)}  # type: ignore[arg-type]

    linux = {"os": "linux"}
    yield report(
        "off-schema-unknown-type", "an event type that the catalog does not declare", type="pong"
    )
    yield report(
        "off-schema-unknown-field", "a field that the type does not declare", values={"name": "eve"}
    )
    yield report("off-schema-unknown-value", "a value outside the enum", values={"os": "plan9"})
    yield report(
        "off-schema-number-for-flag", "the number 1 as the value of a flag", values={"new": 1}
    )
    yield report(
        "off-schema-flag-for-number", "true as the value of a bucket", values={"size": True}
    )
    yield report(
        "off-schema-bucket-out-of-range", "bucket 4 where 0 to 3 are declared", values={"size": 4}
    )
    yield report("off-schema-negative-bucket", "bucket -1", values={"size": -1})
    yield report(
        "off-schema-nested-value", "an array as the value of a field", values={"os": ["linux"]}
    )
    yield report("off-schema-count-misplaced", "a count in a report of kind state", count=2)
    yield report(
        "off-schema-count-missing", "no count in a report of kind count", type="click", values=linux
    )
    yield report(
        "off-schema-count-too-large",
        "a count over the declared maximum",
        type="click",
        values=linux,
        count=1001,
    )
    yield report(
        "off-schema-not-sampled",
        "a sampling rate of one in 7, which is not declared",
        type="rare",
        values=linux,
        one_in=7,
    )
    yield report(
        "empty-sequence", "no sequence in a report of kind sequence", type="flow", values=linux
    )
    yield report(
        "off-schema-unknown-step",
        "a step that is not declared",
        type="flow",
        values={},
        sequence=[["quit", 0]],
    )
    back = [["open", 2], ["done", 1]]
    yield report(
        "off-schema-sequence-backwards",
        "a step with a smaller offset than the step before",
        type="flow",
        values={},
        sequence=back,
    )
    yield report(
        "off-schema-sequence-too-long",
        "five steps where four are allowed",
        type="flow",
        values={},
        sequence=[["open", 0]] * 5,
    )
    yield from _shapes(w)
    yield report("malformed-unknown-key", "an unknown key in a report", user="eve")
    yield report("malformed-time-missing", "no time in a report", time=None)
    yield report(
        "malformed-one-in-default",
        "the default of one_in, which must be left out",
        type="rare",
        values=linux,
        one_in=1,
    )
    yield report("malformed-count-zero", "a count of 0", type="click", values=linux, count=0)
    yield report("malformed-catalog-short", "a catalog id of 31 bytes", catalog=bytes(31))
    yield report("malformed-time-negative", "a time before 1970", time=-600)
    yield report("malformed-time-huge", "a time after the year 9999", time=2**40 * 600)
    yield report("empty-values", "no values, count or sequence", values={})
    yield report("unrounded-report", "a time that is not a multiple of 600", time=TIME + 1)
    yield report(
        "unrounded-day", "a time finer than the declared resolution", type="daily", values=linux
    )
    yield report(
        "no-work-stamp", "no work stamp, which the type asks for", type="stamped", values=linux
    )
    body = encode(w.body(type="stamped", values=linux))
    headers = [b"\xa4" + protected()[1:] + b"\x64work" + head(0, n) for n in range(24)]
    stamped = [sign_by_hand(one, body) for one in headers]
    weak = next(raw for raw in stamped if sha256(split(raw).signed).digest()[0])
    yield "no-work-enough", "a stamp with too few zero bits", {"bytes": weak}
    stamp = seal(Kind.REPORT, encode(w.body()), seed("report"), work_bits=1)
    yield "off-schema-work-misplaced", "a stamp that the type does not ask for", {"bytes": stamp}
    yield (
        "oversize-report",
        "a report of 1,025 bytes",
        {
            "bytes": sign_by_hand(protected(), bytes(1025 - 114)),
        },
    )
    yield "oversize-item", "65,537 bytes, all 0", {"bytes": bytes(65_537)}


def _shapes(w: World) -> Iterator[Scenario]:
    """Reports with a wrong structure, and reports that only the catalog refuses."""
    for name, says, change in (
        ("malformed-values-array", "an array in place of the map of values", {"values": []}),
        (
            "off-schema-values-map",
            "a map as the value of a field",
            {"values": {"os": {"is": "linux"}}},
        ),
        (
            "off-schema-values-bytes",
            "a byte string as the value of a field",
            {"values": {"os": b"linux"}},
        ),
        (
            "off-schema-values-large",
            "bucket 2^64 - 1 where 0 to 3 are declared",
            {"values": {"size": 2**64 - 1}},
        ),
        ("malformed-count-text", "text as a count", {"type": "click", "count": "7"}),
        ("malformed-count-flag", "true as a count", {"type": "click", "count": True}),
        ("malformed-sequence-empty", "a sequence without steps", {"sequence": []}),
        ("malformed-sequence-map", "a map as a sequence", {"sequence": {}}),
        ("malformed-sequence-step", "a step without an offset", {"sequence": [["open"]]}),
        ("malformed-sequence-offset", "a step with an offset of -1", {"sequence": [["open", -1]]}),
        (
            "malformed-sequence-flag",
            "false as the offset of a step",
            {"sequence": [["open", False]]},
        ),
        (
            "off-schema-sequence-offset",
            "offset bucket 3 where 0 to 2 are declared",
            {"sequence": [["open", 3]]},
        ),
    ):
        of_flow = {"type": "flow", "values": {}} if "sequence" in change else {}
        yield name, says, {"bytes": w.report(**of_flow, **change)}  # type: ignore[arg-type]
    misplaced = w.report(sequence=[["open", 0]])
    yield (
        "off-schema-sequence-misplaced",
        "a sequence in a report of kind state",
        {"bytes": misplaced},
    )


def _announcements(w: World) -> Iterator[Scenario]:
    """Announcements: several faults, limits of texts, times of expiry."""
    news = {"text": "Version 2 is out.", "url": "http://example.org/2"}
    for name, says, change in (
        ("malformed-announcement-url", "a news url without https", {"news": [news]}),
        (
            "malformed-announcement-two-faults",
            "three faults; the news url without https is reported",
            {"news": [news], "report_interval": 600, "time": TIME + 1},
        ),
        (
            "off-schema-announcement-two-faults",
            "a report interval under a day and an unrounded time; the interval is reported",
            {"report_interval": 600, "time": TIME + 1},
        ),
        ("malformed-announcement-at-once", "expires equal to time", {"expires": TIME}),
        ("malformed-announcement-before", "expires before time", {"expires": TIME - 600}),
        ("malformed-announcement-endless", "no expires", {"expires": None}),
        ("malformed-announcement-interval", "a report interval of -1", {"report_interval": -1}),
        (
            "ok-announcement-version-64",
            "a version of 64 bytes in 32 characters",
            {"newest_version": "µ" * 32},
        ),
        (
            "malformed-announcement-version-65",
            "a version of 65 bytes in 33 characters",
            {"newest_version": "µ" * 32 + "s"},
        ),
        ("ok-announcement-news-500", "a news text of 500 bytes", {"news": [{"text": "µ" * 250}]}),
        (
            "malformed-announcement-news-501",
            "a news text of 501 bytes",
            {"news": [{"text": "µ" * 250 + "s"}]},
        ),
        ("malformed-announcement-news-nine", "nine pieces of news", {"news": [{"text": "a"}] * 9}),
        (
            "ok-announcement-selector",
            "a selector that accepts no value of a fact",
            {"selector": {"os": []}},
        ),
        (
            "malformed-announcement-selector",
            "a selector with 33 values of one fact",
            {"selector": {"os": [f"v{n}" for n in range(33)]}},
        ),
    ):
        yield name, says, {"bytes": w.announcement(**change)}


def circumstance(w: World) -> Iterator[Scenario]:
    yield (
        "early-report",
        "a report whose time is 301 s ahead of the clock",
        {"bytes": w.report(), "now": TIME - 301},
    )
    yield (
        "late-report",
        "a report one second older than the lateness of 21 days",
        {"bytes": w.report(), "now": TIME + 21 * 86_400 + 1},
    )
    forged = malleable(w.report())
    yield (
        "forged-though-late",
        "a forged report that is also late: rejected under any clock",
        {"bytes": forged, "now": TIME + 86_400 * 99},
    )
    yield (
        "unknown-catalog-report",
        "a report of an unknown catalog",
        {"bytes": w.report(), "catalogs": []},
    )
    yield (
        "forged-of-unknown-catalog",
        "a forged report of an unknown catalog: rejected all the same",
        {"bytes": forged, "catalogs": []},
    )
    yield (
        "unknown-catalog-erasure",
        "an erasure of an unknown catalog",
        {"bytes": w.erasure(), "catalogs": []},
    )
    yield (
        "revoked-report",
        "a report with the same time as the revocation of its type",
        {"bytes": w.report(), "records": ["ok-record-revoked"]},
    )
    yield (
        "revoked-report-history",
        "the same report, read from a file",
        {"bytes": w.report(), "records": ["ok-record-revoked"], "live": False},
    )
    yield (
        "late-before-unlisted",
        "a late report without a record",
        {"bytes": w.report(), "now": TIME + 86_400 * 99, "records": []},
    )
    yield (
        "unlisted-before-revoked",
        "a report of a revoked type whose catalog is not listed",
        {"bytes": w.report(), "records": ["ok-record-revoked-empty"]},
    )
    over = w.report(type="over", values={"os": "linux"})
    yield "expired-report", "a report of an expired type", {"bytes": over}
    end = {"bytes": w.announcement(), "now": TIME + 86_400 * 30}
    yield "expired-announcement", "an announcement at the time when it expires", end
    yield (
        "early-announcement",
        "an announcement whose time is 600 s ahead of the clock",
        {"bytes": w.announcement(), "now": TIME - 600},
    )
    day = TIME // 86_400 * 86_400
    yield (
        "early-erasure",
        "an erasure of a day that begins 301 s after the clock's time",
        {"bytes": w.erasure(), "now": day - 301},
    )
    yield (
        "ok-erasure-skewed-clock",
        "an erasure of a day that begins 300 s after the clock's time",
        {"bytes": w.erasure(), "now": day - 300},
    )
    for name, says, change in (
        ("inner-short", "an inner hash of 31 bytes", {"inner": bytes(31)}),
        (
            "id",
            "the id of a report in place of the inner hash",
            {"report": bytes(32), "inner": None},
        ),
        ("day-missing", "no day", {"day": None}),
        ("day-negative", "a day before 1970", {"day": -1}),
        ("day-huge", "a day after the year 9999", {"day": 2_932_897}),
        ("day-flag", "true as the day", {"day": True}),
        ("key", "an unknown key in an erasure", {"reason": "none"}),
    ):
        yield f"malformed-erasure-{name}", says, {"bytes": w.erasure(**change)}
    last = {"bytes": w.erasure(day=2_932_896), "live": False}
    yield "ok-erasure-last-day", "an erasure of the last day of the year 9999", last
    elsewhere = "/methrics/1/vectors-aaaaaaaaaaaaaaaa/cbor"
    for name in ("report", "erasure", "record", "announcement"):
        given = {"bytes": getattr(w, name)(), "topic": elsewhere}
        yield f"foreign-{name}", f"{ARTICLED[name]} on the topic of another namespace", given
    yield (
        "foreign-catalog",
        "a catalog on the topic of another namespace",
        {"bytes": w.catalog, "topic": elsewhere},
    )
    label = w.topic.replace("vectors", "victors")
    yield (
        "foreign-label",
        "a catalog on a topic of its namespace with another label",
        {"bytes": w.catalog, "topic": label},
    )
    yield (
        "off-schema-interval",
        "an announcement that asks for a report interval under a day",
        {"bytes": w.announcement(report_interval=86_399)},
    )
    yield (
        "malformed-news",
        "a terminal escape sequence in a piece of news",
        {
            "bytes": w.announcement(news=[{"text": "\x1b[2J"}]),
        },
    )
    yield from _announcements(w)
    unrounded = {"bytes": w.announcement(time=TIME + 1)}
    yield "unrounded-announcement", "a time that is not a multiple of 600", unrounded
    yield (
        "ok-announcement-unknown-namespace",
        "an announcement by a namespace of which no catalog is known",
        {"bytes": w.announcement(), "catalogs": [], "records": [], "topic": w.topic},
    )
    no_types = w.namespace(Kind.CATALOG, CATALOG | {"types": {}})
    yield (
        "off-schema-catalog-empty",
        "a catalog without event types",
        {"bytes": no_types, "catalogs": []},
    )
    free = CATALOG | {"types": {"t": event_type("event", fields=[{**NEW, "type": "text"}])}}
    yield (
        "off-schema-catalog-free-text",
        "a catalog with a field of free text",
        {
            "bytes": w.namespace(Kind.CATALOG, free),
            "catalogs": [],
        },
    )
    broken = w.namespace(Kind.CATALOG, CATALOG | {"number": 2})
    yield (
        "off-schema-catalog-chain",
        "a catalog with number 2 and no predecessor",
        {"bytes": broken, "catalogs": []},
    )
