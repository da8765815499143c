"""Scenarios of catalogs just inside and just outside each rule."""

from __future__ import annotations

from collections.abc import Iterator

from vector_world import CATALOG, NEW, NOW, OS, SIZE, Scenario, World, event_type, seed

from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Kind, seal


def _fields(*fields: dict[str, object]) -> dict[str, object]:
    """A catalog of one event with these fields."""
    return CATALOG | {"types": {"t": event_type("event", fields=list(fields), entropy_bits=28)}}


def _of_size(size: int) -> dict[str, object]:
    """A catalog whose largest report has `size` bytes, set by the length of the names of 17 enums,
    which have few different contents and long words."""
    fields = [
        {
            "name": f"a{n:02}",
            "type": "enum",
            "says": "A word.",
            "values": ["w" * (32 if n < 8 else 1)],
        }
        for n in range(17)
    ]
    # 112 bytes of envelope, 3 of the payload's head, then map, catalog, type `t`, time, values.
    missing = size - 112 - 3 - (1 + 42 + 7 + 10 + 8) - 17 * (4 + 6) - 8 * 28
    for field in fields:
        # From 24 letters on, the head of a name takes one byte more.
        more = min(missing, 20) if missing < 22 else min(missing - 1, 29)
        field["name"] = str(field["name"]) + "x" * more
        missing -= more + (more > 20)
    assert missing == 0
    return _fields(*fields)


def catalogs(w: World) -> Iterator[Scenario]:
    """Catalogs that are valid, and invalid by one step."""
    for name, says, body in (
        *_edges(),
        *_texts(),
        *_addresses(),
        *_contents(),
        *_sizes(),
        *_lists(),
    ):
        yield name, says, {"bytes": w.namespace(Kind.CATALOG, body), "catalogs": []}
    for name, says, payload in (
        ("off-schema-catalog-array", "an array as a catalog's payload", b"\x80"),
        ("off-schema-catalog-text", "text as a catalog's payload", b"\x61a"),
        ("malformed-catalog-empty", "a catalog without a payload", b""),
        (
            "malformed-catalog-trailing-byte",
            "a byte behind a catalog's payload",
            encode(CATALOG) + b"\x00",
        ),
        ("malformed-catalog-null", "null as a catalog's payload", b"\xf6"),
    ):
        raw = seal(Kind.CATALOG, payload, seed("namespace"))
        yield name, says, {"bytes": raw, "catalogs": []}
    yield from _random(w)


_Body = tuple[str, str, object]


def _edges() -> Iterator[_Body]:
    whole, close = 2**53 - 1, ["1000000000000000.11", "1000000000000000.12"]
    for name, says, edges in (
        ("ok-catalog-edges-whole", "edges of 2^53 - 1 and its negative", [-whole, whole]),
        ("off-schema-catalog-edge-large", "an edge of 2^53", [whole + 1]),
        ("off-schema-catalog-edge-low", "an edge of -2^53", [-whole - 1]),
        ("off-schema-catalog-edge-huge", "an edge of 2^64 - 1", [2**64 - 1]),
        ("ok-catalog-edges-close", "two edges that round to the same double", close),
        (
            "off-schema-catalog-edges-close",
            "two edges that round to the same double, descending",
            close[::-1],
        ),
        ("ok-catalog-edges-mixed", "edges of 2^53 - 1 and a tenth more", [whole, f"{whole}.1"]),
        (
            "off-schema-catalog-edges-mixed",
            "edges of 2^53 - 1 and a tenth more, descending",
            [f"{whole}.1", whole],
        ),
        (
            "ok-catalog-edges-small",
            "edges below, at and above 0",
            ["-0.5", "-0.25", 0, "0.000000001"],
        ),
        (
            "off-schema-catalog-edges-negative",
            "edges of -0.25 and -0.5, descending",
            ["-0.25", "-0.5"],
        ),
        ("off-schema-catalog-edges-twice", "an edge twice", ["0.5", "0.5"]),
        ("off-schema-catalog-edge-zeros", "a decimal edge that ends in 0", ["0.50"]),
        ("off-schema-catalog-edge-long", "a decimal edge of ten places", ["0.1234567891"]),
        (
            "off-schema-catalog-edge-digits",
            "a decimal edge with 17 digits before the point",
            ["10000000000000000.5"],
        ),
        ("off-schema-catalog-edge-flag", "true as an edge", [True]),
        ("off-schema-catalog-edge-newline", "a decimal edge that ends in a line feed", ["0.5\n"]),
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
        ("ok-catalog-says-240", "a field's text of 240 bytes in 120 characters", "µ" * 120),
        (
            "off-schema-catalog-says-241",
            "a field's text of 241 bytes in 121 characters",
            "µ" * 120 + "s",
        ),
        (
            "off-schema-catalog-blank",
            "a field's text of blanks only",
            " \u00a0\u1680\u2000\u200a\u202f\u205f\u3000",
        ),
        (
            "ok-catalog-not-blank",
            "a field's text of invisible characters that do not count as blank",
            "\u180e\u200b",
        ),
        (
            "off-schema-catalog-barred",
            "a field's text with a bidirectional override",
            "abc\u202edef",
        ),
    ):
        yield name, says, _fields(NEW | {"says": text})


def _addresses() -> Iterator[_Body]:
    """Catalogs with an address of the results; most vectors have one, and it may be absent."""
    none = {key: value for key, value in CATALOG.items() if key != "results"}
    yield "ok-catalog-no-results", "a catalog without an address of the results", none
    long = "https://example.org/".ljust(200, "a")
    for name, says, address in (
        ("ok-catalog-results-200", "an address of 200 bytes", long),
        ("off-schema-catalog-results-201", "an address of 201 bytes", f"{long}a"),
        (
            "ok-catalog-results-port",
            "an address with a port, a query and a fragment",
            "https://1.example-2.org:8443/a/b_c.html?d=1&e=%20f+~#g",
        ),
        ("ok-catalog-results-host", "an address of a host alone", "https://a"),
        ("off-schema-catalog-results-empty", "an empty address of the results", ""),
        ("off-schema-catalog-results-http", "an http address", "http://example.org/"),
        ("off-schema-catalog-results-upper", "HTTPS in capitals", "HTTPS://example.org/"),
        ("off-schema-catalog-results-no-host", "an https address without a host", "https:///a"),
        ("off-schema-catalog-results-user", "a user name", "https://a@example.org/"),
        ("off-schema-catalog-results-no-port", "a colon without a port", "https://example.org:/"),
        (
            "off-schema-catalog-results-port-6",
            "a port of six digits",
            "https://example.org:123456/",
        ),
        (
            "off-schema-catalog-results-query",
            "a query directly behind the host",
            "https://example.org?a=1",
        ),
        ("off-schema-catalog-results-space", "a space", "https://example.org/a b"),
        ("off-schema-catalog-results-quote", "a quotation mark", 'https://example.org/"'),
        (
            "off-schema-catalog-results-international",
            "a letter with a dot",
            "https://ex\u00e4mple.org/",
        ),
        (
            "off-schema-catalog-results-newline",
            "an address that ends in a line feed",
            "https://example.org/\n",
        ),
        ("off-schema-catalog-results-number", "a number as the address of the results", 1),
    ):
        yield name, says, CATALOG | {"results": address}


def _contents() -> Iterator[_Body]:
    """Types with just as many, and just too many, different reports."""
    version = {"name": "version", "type": "version", "says": "Which version."}
    first = {"name": "first", "type": "flag", "source": "first_of_month", "says": "Whether first."}
    lands = [
        {"name": f"land{n}", "type": "country", "says": "Where.", "randomize": 100}
        for n in range(4)
    ]
    steps = {"steps": ["a", "b"], "offset_edges": []}
    for name, says, declared in (
        (
            "ok-catalog-contents-version",
            "a version of 512 * 512 * 1023 numbers",
            event_type("event", fields=[version | {"max": [511, 511, 1022]}]),
        ),
        (
            "off-schema-catalog-contents-version",
            "a version of 2^28 numbers, and `other`",
            event_type("event", fields=[version | {"max": [511, 511, 1023]}]),
        ),
        (
            "ok-catalog-contents-count",
            "a count of up to 2^28",
            event_type("count", count={"max": 2**28, "window": 86_400}),
        ),
        (
            "off-schema-catalog-contents-count",
            "a count of up to 2^28 + 1",
            event_type("count", count={"max": 2**28 + 1, "window": 86_400}),
        ),
        (
            "off-schema-catalog-contents-rates",
            "a count of up to 2^28, sampled at two rates",
            event_type("count", count={"max": 2**28, "window": 86_400}, one_in=[1, 2]),
        ),
        (
            "ok-catalog-contents-sequence",
            "a sequence of up to 27 out of two steps: 2^28 - 2 sequences",
            event_type("sequence", sequence=steps | {"max_steps": 27}),
        ),
        (
            "off-schema-catalog-contents-sequence",
            "a sequence of up to 28 out of two steps",
            event_type("sequence", sequence=steps | {"max_steps": 28}),
        ),
        (
            "off-schema-catalog-contents-offsets",
            "a sequence of up to 24 out of two steps, with an offset edge",
            event_type("sequence", sequence={**steps, "offset_edges": [5], "max_steps": 24}),
        ),
        (
            "ok-catalog-contents-random",
            "three randomized countries: 251^3 * 3 - 1 different reports",
            event_type("state", fields=[first, *lands[:3]]),
        ),
        (
            "off-schema-catalog-contents-random",
            "four randomized countries, which the budget counts as two values each",
            event_type("state", fields=[first, *lands]),
        ),
        (
            "off-schema-catalog-budget-29",
            "a budget of 29 bits",
            event_type("event", entropy_bits=29),
        ),
    ):
        yield name, says, CATALOG | {"types": {"t": declared}}


def _sizes() -> Iterator[_Body]:
    yield "ok-catalog-report-1024", "a catalog whose largest report has 1,024 bytes", _of_size(1024)
    yield (
        "off-schema-catalog-report-1025",
        "a catalog whose largest report has 1,025 bytes",
        _of_size(1025),
    )
    # Each field has 4 states: two words, `other`, not shared. Two fields: 4 * 4 - 1 = 15 reports.
    fields = [OS, OS | {"name": "os2"}]
    for name, says, bits in (
        ("ok-catalog-entropy", "15 different reports with an entropy budget of 4 bits", 4),
        ("off-schema-catalog-entropy", "15 different reports with an entropy budget of 3 bits", 3),
    ):
        types = {"t": event_type("event", fields=fields, entropy_bits=bits)}
        yield name, says, CATALOG | {"types": types}


def _lists() -> Iterator[_Body]:
    country = {"name": "country", "type": "country", "says": "Where."}
    language = {"name": "language", "type": "language", "says": "Which language."}
    for name, says, field, values in (
        ("ok-catalog-countries", "country codes of the list", country, ["SS", "BQ", "AX"]),
        (
            "off-schema-catalog-country-code",
            "country code XK, which is not in the list",
            country,
            ["XK"],
        ),
        (
            "off-schema-catalog-country-gone",
            "country code AN, which was withdrawn",
            country,
            ["AN"],
        ),
        (
            "off-schema-catalog-country-rest",
            "country code ZZ, which may not be declared",
            country,
            ["ZZ"],
        ),
        ("off-schema-catalog-country-lower", "a country code in lower case", country, ["de"]),
        ("ok-catalog-languages", "language codes of the list", language, ["nb", "nn", "no"]),
        (
            "off-schema-catalog-language-code",
            "language code sh, which is not in the list",
            language,
            ["sh"],
        ),
        (
            "off-schema-catalog-language-gone",
            "language code bh, which was withdrawn",
            language,
            ["bh"],
        ),
        (
            "off-schema-catalog-language-rest",
            "language code other, which may not be declared",
            language,
            ["other"],
        ),
    ):
        yield name, says, _fields(field | {"values": values})
    yield (
        "off-schema-catalog-place-edges",
        "edges on a country field",
        _fields(country | {"edges": [1]}),
    )
    over = CATALOG | {"types": {"t": event_type("event", fields=[NEW], expires=2**32)}}
    yield "off-schema-catalog-expires", "a type that expires at 2^32", over
    soon = CATALOG | {"types": {"t": event_type("event", fields=[NEW], expires=NOW - NOW % 600)}}
    yield "ok-catalog-expired", "a catalog of a type that has expired", soon


def _random(w: World) -> Iterator[Scenario]:
    """Catalogs with randomized response: fields that allow it and fields that do not."""
    first = {"name": "first", "type": "flag", "source": "first_of_month", "says": "Whether first."}
    version = {"name": "version", "type": "version", "max": [9, 9], "says": "Which version."}
    for name, says, field in (
        ("ok-catalog-random", "a field with randomized response", {**OS, "randomize": 1000}),
        (
            "off-schema-catalog-random-never",
            "randomized response with an epsilon of 0.099",
            {**OS, "randomize": 99},
        ),
        (
            "off-schema-catalog-random-always",
            "randomized response with an epsilon of 10.001",
            {**OS, "randomize": 10_001},
        ),
        (
            "off-schema-catalog-random-type",
            "randomized response on a version field",
            {**version, "randomize": 1000},
        ),
        (
            "off-schema-catalog-random-source",
            "randomized response on a field with a source",
            {**first, "randomize": 1000},
        ),
    ):
        fields = [field] if "source" in field else [first, field]
        types = {"t": event_type("state", fields=fields)}
        raw = w.namespace(Kind.CATALOG, CATALOG | {"types": types})
        yield name, says, {"bytes": raw, "catalogs": []}
