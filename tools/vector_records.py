"""Scenarios of records: every bound, and when a catalog counts as listed."""

from __future__ import annotations

from collections.abc import Iterator

from vector_world import NOW, TIME, Scenario, World, malleable, protected, seed, sign_by_hand

from methrics.schema.wire.codec import encode, head
from methrics.schema.wire.envelope import Kind, public_key, seal, split
from methrics.schema.wire.limits import RECORD_MAX


def records(w: World) -> Iterator[Scenario]:
    for name, (says, raw) in w.records().items():
        yield name, says, {"bytes": raw, "records": []}
    yield from _bounds(w)
    yield from _sizes(w)
    yield from _circumstance(w)
    yield from _listed(w)


def _ids(count: int, size: int = 32) -> list[bytes]:
    return [n.to_bytes(size, "big") for n in range(count)]


def _bounds(w: World) -> Iterator[Scenario]:
    """Every bound of a record's parts."""
    listed = [{"catalog": one, "listed": TIME} for one in _ids(33)]
    revoked = {f"t{n}": {"time": TIME, "reason": "r"} for n in range(257)}
    reserved = {"next": bytes(32), "issuers": _ids(8), "results": "https://example.org/results"}
    two_faults = {"ping": {"time": TIME + 1, "reason": "r"}, "Ping": {"time": TIME, "reason": "r"}}

    def ping(**change: object) -> dict[str, object]:
        body = {"time": TIME, "reason": "r"} | change
        return {"revoked": {"ping": {key: one for key, one in body.items() if one is not None}}}

    for name, says, change in (
        ("ok-record-previous-4", "four previous records", {"previous": _ids(4)}),
        ("malformed-record-previous-5", "five previous records", {"previous": _ids(5)}),
        (
            "malformed-record-previous-order",
            "previous records that do not ascend",
            {"previous": _ids(2)[::-1]},
        ),
        ("malformed-record-previous-twice", "a previous record twice", {"previous": _ids(1) * 2}),
        ("malformed-record-previous-short", "an id of 31 bytes", {"previous": _ids(1, 31)}),
        ("malformed-record-previous-missing", "no list of previous records", {"previous": None}),
        ("ok-record-catalogs-32", "32 catalogs", {"catalogs": listed[:32]}),
        ("malformed-record-catalogs-33", "33 catalogs", {"catalogs": listed}),
        (
            "malformed-record-catalogs-order",
            "catalogs that do not ascend",
            {"catalogs": listed[1::-1]},
        ),
        ("malformed-record-catalogs-twice", "a catalog twice", {"catalogs": listed[:1] * 2}),
        ("malformed-record-catalogs-missing", "no list of catalogs", {"catalogs": None}),
        (
            "malformed-record-catalog-short",
            "a catalog id of 31 bytes",
            {"catalogs": [w.listing(catalog=bytes(31))]},
        ),
        (
            "malformed-record-listed-missing",
            "a catalog without the time at which it was listed",
            {"catalogs": [w.listing(listed=None)]},
        ),
        (
            "malformed-record-delisted-at-once",
            "a catalog delisted when it was listed",
            {"catalogs": [w.listing(delisted=TIME - 86_400 * 400)]},
        ),
        (
            "malformed-record-listing-key",
            "an unknown key in the entry of a catalog",
            {"catalogs": [w.listing(label="vectors")]},
        ),
        (
            "ok-record-revoked-256",
            "256 revoked types",
            {"revoked": dict(list(revoked.items())[:256])},
        ),
        ("malformed-record-revoked-257", "257 revoked types", {"revoked": revoked}),
        ("malformed-record-revoked-array", "an array of revoked types", {"revoked": []}),
        ("malformed-record-revoked-missing", "no map of revoked types", {"revoked": None}),
        (
            "malformed-record-revoked-name",
            "a revoked type whose name no event type can have",
            {"revoked": {"Ping": {"time": TIME, "reason": "r"}}},
        ),
        ("ok-record-reason-200", "a reason of 200 bytes", ping(reason="µ" * 100)),
        (
            "malformed-record-reason-201",
            "a reason of 201 bytes in 101 characters",
            ping(reason="µ" * 100 + "s"),
        ),
        ("malformed-record-reason-empty", "a reason of no bytes", ping(reason="")),
        ("malformed-record-reason-break", "a line break in a reason", ping(reason="a\nb")),
        ("malformed-record-revoked-key", "an unknown key in a revocation", ping(user=1)),
        ("malformed-record-revoked-time", "a revocation without a time", ping(time=None)),
        ("unrounded-record", "a revocation at no multiple of 600", ping(time=TIME + 1)),
        (
            "malformed-record-two-faults",
            "an unrounded time and a name that no event type can have; the name is reported",
            {"revoked": two_faults},
        ),
        ("ok-record-unrounded-time", "a record at no multiple of 600", {"time": TIME - 599}),
        ("malformed-record-at-once", "expires equal to time", {"expires": TIME - 86_400}),
        ("malformed-record-endless", "no expires", {"expires": None}),
        ("malformed-record-time-missing", "no time", {"time": None}),
        ("malformed-record-time-flag", "true as the time", {"time": True}),
        ("malformed-record-expires-huge", "an end after the year 9999", {"expires": 2**48}),
        ("ok-record-settled", "settled one second before time", {"settled": TIME - 86_401}),
        ("ok-record-settled-0", "settled at the beginning of time", {"settled": 0}),
        ("malformed-record-settled-at-once", "settled equal to time", {"settled": TIME - 86_400}),
        ("malformed-record-settled-negative", "a negative settled", {"settled": -1}),
        ("malformed-record-settled-flag", "false as settled", {"settled": False}),
        ("malformed-record-settled-text", "a text as settled", {"settled": "1"}),
        ("ok-record-reserved", "a record with the reserved keys", reserved),
        ("malformed-record-next-short", "a hash of the next key of 31 bytes", {"next": bytes(31)}),
        ("malformed-record-issuers-9", "nine issuer keys", {"issuers": _ids(9)}),
        ("malformed-record-issuer-short", "an issuer key of 31 bytes", {"issuers": _ids(1, 31)}),
        ("malformed-record-results", "results without https", {"results": "http://example.org"}),
        ("malformed-record-results-number", "a number as the results", {"results": 1}),
        ("ok-record-unknown-key", "a record with an unknown key", {"mood": [1, {"good": True}]}),
    ):
        yield name, says, {"bytes": w.record(**change), "records": []}  # type: ignore[arg-type]
    array = seal(Kind.RECORD, b"\x80", seed("namespace"))
    yield "malformed-record-array", "an array as the payload of a record", {"bytes": array}


def _sizes(w: World) -> Iterator[Scenario]:
    """Records of exactly the largest size, and of one byte more."""
    for name, size in (("ok-record-16384", RECORD_MAX), ("oversize-record-16385", RECORD_MAX + 1)):
        body = {
            "time": TIME,
            "expires": TIME + 600,
            "previous": [],
            "catalogs": [],
            "revoked": {},
            "pad": "",
        }
        room = size - len(encode(body)) - 112 - 3 - 2
        payload = encode(body | {"pad": "p" * room})
        key = public_key(seed("namespace"))
        raw = sign_by_hand(protected(Kind.RECORD, key), payload, name="namespace")
        yield name, f"a record of {size:,} bytes", {"bytes": raw}


def _circumstance(w: World) -> Iterator[Scenario]:
    ahead = w.record(time=NOW + 301, expires=NOW + 86_400)
    yield "early-record", "a record whose time is 301 s ahead of the clock", {"bytes": ahead}
    yield (
        "ok-record-skewed-clock",
        "a record whose time is 300 s ahead of the clock",
        {"bytes": w.record(time=NOW + 300, expires=NOW + 86_400)},
    )
    yield (
        "ok-record-history",
        "a record from the future, read from a file",
        {"bytes": ahead, "live": False},
    )
    yield (
        "ok-record-expired",
        "a record that has expired, which still tells what was listed",
        {"bytes": w.record(), "now": TIME + 86_400 * 900},
    )
    yield (
        "ok-record-on-topic",
        "a record on the topic of its namespace, of which no catalog is known",
        {"bytes": w.record(), "topic": w.topic, "records": [], "catalogs": []},
    )
    yield "forged-record", "a forged record", {"bytes": malleable(w.record())}
    key = public_key(seed("namespace"))
    stamped = b"\xa4" + protected(Kind.RECORD, key)[1:] + b"\x64work" + head(0, 1)
    payload = split(w.record()).payload
    raw = sign_by_hand(stamped, payload, name="namespace")
    yield "off-schema-record-work", "a record with a work stamp", {"bytes": raw}


def _listed(w: World) -> Iterator[Scenario]:
    """When the catalog of a report, and a catalog itself, counts as listed."""
    for name, says, known in (
        ("unlisted-report", "a report, and no record is known", []),
        (
            "unlisted-report-empty",
            "a report whose catalog is not listed any more",
            ["ok-record-empty"],
        ),
        (
            "ok-report-listed-within",
            "a report whose catalog was listed one second before its period ended",
            ["ok-record-listed-within"],
        ),
        (
            "unlisted-report-listed-after",
            "a report whose catalog was listed when its period had ended",
            ["ok-record-listed-after"],
        ),
        (
            "unlisted-report-delisted-at",
            "a report at the time when its catalog was delisted",
            ["ok-record-delisted-at"],
        ),
        (
            "ok-report-delisted-after",
            "a report one second before its catalog was delisted",
            ["ok-record-delisted-after"],
        ),
        (
            "unlisted-report-expires-at",
            "a report at the time when the record expires",
            ["ok-record-expires-at"],
        ),
        (
            "ok-report-expires-after",
            "a report one second before the record expires",
            ["ok-record-expires-after"],
        ),
    ):
        yield name, says, {"bytes": w.report(), "records": known}
    yield (
        "unlisted-report-newest",
        "a report that the older of two records lists",
        {"bytes": w.report(), "records": ["ok-record-empty", "ok-record"]},
    )
    yield (
        "ok-report-history-listed-once",
        "the same report, read from a file: a record has listed its catalog once",
        {"bytes": w.report(), "records": ["ok-record-empty", "ok-record"], "live": False},
    )
    yield (
        "unlisted-report-history",
        "a report from a file whose catalog no record has ever listed",
        {"bytes": w.report(), "records": ["ok-record-empty"], "live": False},
    )
    yield (
        "ok-report-history-delisted",
        "a report from a file at the time when its catalog was delisted",
        {"bytes": w.report(), "records": ["ok-record-delisted-at"], "live": False},
    )
    yield "unlisted-catalog", "a catalog without a record", {"bytes": w.catalog, "records": []}
    yield (
        "ok-catalog-delisted",
        "a catalog that is delisted",
        {"bytes": w.catalog, "records": ["ok-record-delisted-at"]},
    )
    yield (
        "ok-catalog-history",
        "a catalog without a record, read from a file",
        {"bytes": w.catalog, "records": [], "live": False},
    )
