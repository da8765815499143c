"""Scenarios of catalogs just inside and just outside each rule."""

from __future__ import annotations

from collections.abc import Iterator

from vector_world import CATALOG, NEW, NOW, OS, SIZE, Scenario, World, event_type, seed

from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Kind, seal


def _fields(*fields: dict[str, object]) -> dict[str, object]:
    """A catalog of one event with these fields."""
    return CATALOG | {"types": {"t": event_type("event", fields=list(fields), entropy_bits=64)}}


def _of_size(size: int) -> dict[str, object]:
    """A catalog whose largest report has `size` bytes, set by the length of the names of 32
    flags."""
    fields = [{"name": f"a{n:02}", "type": "flag", "says": "A flag."} for n in range(32)]
    # 112 around a payload with a head of 3; map, catalog, type `t`, time, values with a head of 2.
    missing = size - 112 - 3 - (1 + 42 + 7 + 10 + 9) - 32 * 5
    for field in fields:
        # From 24 letters on, the head of a name takes one byte more.
        more = min(missing, 20 if missing < 22 else 29)
        field["name"] = str(field["name"]) + "x" * more
        missing -= more + (more > 20)
    assert missing == 0
    return _fields(*fields)


def catalogs(w: World) -> Iterator[Scenario]:
    """Catalogs that are valid, and invalid by one step."""
    for name, says, body in (*_edges(), *_texts(), *_sizes(), *_lists()):
        yield name, says, {"bytes": w.namespace(Kind.CATALOG, body), "catalogs": []}
    for name, says, payload in (
        ("off-schema-catalog-array", "an array as a catalog's payload", b"\x80"),
        ("off-schema-catalog-text", "a text as a catalog's payload", b"\x61a"),
        ("malformed-catalog-empty", "no payload", b""),
        ("malformed-catalog-trailing-byte", "a byte behind it", encode(CATALOG) + b"\x00"),
        ("malformed-catalog-null", "null as a catalog's payload", b"\xf6"),
    ):
        raw = seal(Kind.CATALOG, payload, seed("namespace"))
        yield name, says, {"bytes": raw, "catalogs": []}


_Body = tuple[str, str, object]


def _edges() -> Iterator[_Body]:
    whole, close = 2**53 - 1, ["1000000000000000.11", "1000000000000000.12"]
    for name, says, edges in (
        ("ok-catalog-edges-whole", "edges of 2^53 - 1 and its negative", [-whole, whole]),
        ("off-schema-catalog-edge-large", "an edge of 2^53", [whole + 1]),
        ("off-schema-catalog-edge-low", "an edge of -2^53", [-whole - 1]),
        ("off-schema-catalog-edge-huge", "an edge of 2^64 - 1", [2**64 - 1]),
        ("ok-catalog-edges-close", "edges that are one and the same double", close),
        ("off-schema-catalog-edges-close", "the same, descending", close[::-1]),
        ("ok-catalog-edges-mixed", "2^53 - 1 and a tenth more", [whole, f"{whole}.1"]),
        ("off-schema-catalog-edges-mixed", "the same, descending", [f"{whole}.1", whole]),
        (
            "ok-catalog-edges-small",
            "below and above 0",
            ["-0.5", "-0.25", 0, "0.000000001"],
        ),
        ("off-schema-catalog-edges-negative", "-0.25 before -0.5", ["-0.25", "-0.5"]),
        ("off-schema-catalog-edges-twice", "an edge twice", ["0.5", "0.5"]),
        ("off-schema-catalog-edge-zeros", "a decimal that ends in 0", ["0.50"]),
        ("off-schema-catalog-edge-long", "a decimal of ten places", ["0.1234567891"]),
        (
            "off-schema-catalog-edge-digits",
            "17 digits before the point",
            ["10000000000000000.5"],
        ),
        ("off-schema-catalog-edge-flag", "true for an edge", [True]),
        ("off-schema-catalog-edge-newline", "a decimal and a line feed", ["0.5\n"]),
    ):
        yield name, says, _fields(SIZE | {"edges": edges})


def _texts() -> Iterator[_Body]:
    for name, says, unit in (
        ("ok-catalog-unit-24", "a unit of 24 bytes in 12 characters", "µ" * 12),
        ("off-schema-catalog-unit-25", "a unit of 25 bytes in 13 characters", "µ" * 12 + "s"),
        ("off-schema-catalog-unit-empty", "a unit of no bytes", ""),
    ):
        yield name, says, _fields(SIZE | {"unit": unit})
    for name, says, text in (
        ("ok-catalog-says-240", "240 bytes in 120 characters", "µ" * 120),
        ("off-schema-catalog-says-241", "241 bytes in 121 characters", "µ" * 120 + "s"),
        (
            "off-schema-catalog-blank",
            "a line of blanks",
            " \u00a0\u1680\u2000\u200a\u202f\u205f\u3000",
        ),
        ("ok-catalog-not-blank", "invisible, but not blank by the list", "\u180e\u200b"),
        ("off-schema-catalog-barred", "a bidirectional override", "abc\u202edef"),
    ):
        yield name, says, _fields(NEW | {"says": text})


def _sizes() -> Iterator[_Body]:
    yield "ok-catalog-report-1024", "a largest report of 1,024 bytes", _of_size(1024)
    yield "off-schema-catalog-report-1025", "a largest report of 1,025 bytes", _of_size(1025)
    # (2 + 1 words + not shared) and the number of steps: 4 * 4 - 1 = 15 reports of two such fields.
    fields = [OS, OS | {"name": "os2"}]
    for name, says, bits in (
        ("ok-catalog-entropy", "15 reports in 4 bits", 4),
        ("off-schema-catalog-entropy", "15 reports in 3 bits", 3),
    ):
        types = {"t": event_type("event", fields=fields, entropy_bits=bits)}
        yield name, says, CATALOG | {"types": types}


def _lists() -> Iterator[_Body]:
    country = {"name": "country", "type": "country", "says": "Where."}
    language = {"name": "language", "type": "language", "says": "Which language."}
    for name, says, field, values in (
        ("ok-catalog-countries", "codes of the list", country, ["SS", "BQ", "AX"]),
        ("off-schema-catalog-country-code", "XK is not of the list", country, ["XK"]),
        ("off-schema-catalog-country-gone", "AN was withdrawn", country, ["AN"]),
        ("off-schema-catalog-country-rest", "ZZ is not declared", country, ["ZZ"]),
        ("off-schema-catalog-country-lower", "codes are upper case", country, ["de"]),
        ("ok-catalog-languages", "codes of the list", language, ["nb", "nn", "no"]),
        ("off-schema-catalog-language-code", "sh is not of the list", language, ["sh"]),
        ("off-schema-catalog-language-gone", "bh was withdrawn", language, ["bh"]),
        ("off-schema-catalog-language-rest", "other is not declared", language, ["other"]),
    ):
        yield name, says, _fields(field | {"values": values})
    yield "off-schema-catalog-place-edges", "edges on a country", _fields(country | {"edges": [1]})
    over = CATALOG | {"types": {"t": event_type("event", fields=[NEW], expires=2**32)}}
    yield "off-schema-catalog-expires", "an end after 32 bits", over
    soon = CATALOG | {"types": {"t": event_type("event", fields=[NEW], expires=NOW - NOW % 600)}}
    yield "ok-catalog-expired", "a catalog of a type that has ended", soon
