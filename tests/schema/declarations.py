"""Hypothesis strategies for declarations: fields, event types and catalogs as payload maps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.field_types import UNIT_MAX
from methrics.schema.catalog.fields import (
    EPSILON_MAX,
    EPSILON_MIN,
    RANDOMIZED,
    RESERVED_NAMES,
    Field,
    read_field,
)
from methrics.schema.catalog.regions import COUNTRIES, LANGUAGES
from methrics.schema.catalog.rules import read_content, read_type
from methrics.schema.wire.limits import ENVELOPE_SIZE, REPORT_MAX
from methrics.schema.wire.reading import BARRED, BLANK, Reader

names = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True).filter(
    lambda name: name not in RESERVED_NAMES
)
labels = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)
words = st.from_regex(
    r"[A-Za-z0-9]([A-Za-z0-9 ._+/-]{0,30}[A-Za-z0-9._+/-])?", fullmatch=True
).filter(lambda word: word != "other")
prose = st.text(
    st.characters(codec="ascii", min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=60
).map(lambda text: f"x{text}")


def texts(most: int) -> st.SearchStrategy[str]:
    """Lines of 1 to `most` bytes, often of exactly `most`, with characters of 1 to 4 bytes."""
    character = st.characters(codec="utf-8", exclude_characters=[*BARRED])
    return (
        st.text(character, min_size=1, max_size=most)
        .map(lambda text: text.encode()[:most].decode(errors="ignore"))
        .filter(lambda text: bool(text.strip(BLANK)))
    )


decimals = st.builds(
    "{}{}.{}{}".format,
    st.sampled_from(["", "-"]),
    st.integers(0, 10**16 - 1) | st.integers(10**15, 10**15 + 3),
    st.text("0123456789", max_size=8),
    st.integers(1, 9),
)
"""All forms of a decimal edge, many of which round to the same double."""
wholes = st.integers(-(2**53) + 1, 2**53 - 1) | st.sampled_from([-(2**53) + 1, 0, 2**53 - 1])


def edges(most: int) -> st.SearchStrategy[list[int | str]]:
    """Whole and decimal edges in their exact order."""
    entries = st.lists(wholes | decimals, min_size=1, max_size=most, unique_by=Fraction)
    return entries.map(lambda found: sorted(found, key=Fraction))


def ascending(low: int, high: int, *, most: int, least: int = 1) -> st.SearchStrategy[list[int]]:
    """Sorted lists of distinct integers."""
    return st.lists(st.integers(low, high), min_size=least, max_size=most, unique=True).map(sorted)


def _params(kind: str, small: bool) -> st.SearchStrategy[dict[str, Any]]:
    few = 3 if small else 40
    if kind == "enum":
        values = st.lists(words, min_size=1, max_size=few, unique=True)
        return st.fixed_dictionaries({"values": values})
    if kind == "bucket":
        return st.fixed_dictionaries(
            {"edges": edges(3 if small else 64)}, optional={"unit": texts(UNIT_MAX)}
        )
    if kind == "version":
        top = st.integers(0, 2 if small else 9999)
        return st.fixed_dictionaries({"max": st.lists(top, min_size=2, max_size=3)})
    if kind == "count":
        return st.fixed_dictionaries({"max": st.integers(1, 4 if small else 65_535)})
    if kind in ("country", "language"):
        codes = st.sampled_from(sorted(COUNTRIES if kind == "country" else LANGUAGES))
        values = st.lists(codes, min_size=1, max_size=few, unique=True)
        optional = {} if small else {"values": values}
        required = {"values": values} if small else {}
        return st.fixed_dictionaries(required, optional=optional)
    return st.just({})


@st.composite
def field_maps(draw: st.DrawFn, *, name: str | None = None, small: bool = False) -> dict[str, Any]:
    """A field as a payload map; with `small`, it has so few values that tests can list them."""
    kind = draw(
        st.sampled_from(("enum", "flag", "bucket", "version", "country", "language", "count"))
    )
    params = draw(_params(kind, small))
    wire = {"name": name or draw(names), "type": kind, "says": draw(prose), **params}
    if kind in RANDOMIZED and draw(st.integers(0, 3)) == 0:
        wire["randomize"] = draw(st.integers(EPSILON_MIN, EPSILON_MAX))
    return wire


def field_of(wire: dict[str, Any]) -> Field:
    """The field that a payload map declares."""
    field = read_field(Reader(strict=True), wire, "field", wire["name"])
    assert field is not None
    return field


@st.composite
def type_maps(draw: st.DrawFn, *, small: bool = False) -> dict[str, Any]:
    """An event type as a payload map, within its entropy budget and the size limit."""
    kind = draw(st.sampled_from(("event", "count", "state", "sequence")))
    most = 2 if small else 4
    kept = draw(
        st.lists(field_maps(small=small), max_size=most, unique_by=lambda field: field["name"])
    )
    release: dict[str, Any] = {
        "delay": draw(st.integers(300, 9000)),
        "jitter": draw(st.integers(0, 9000)),
    }
    if kind == "state":
        release["every"] = sorted(draw(st.tuples(*[st.integers(3600, 900_000)] * 2)))
    wire: dict[str, Any] = {
        "kind": kind,
        "question": draw(prose),
        "why": draw(prose),
        "owner": draw(prose),
        "review": "https://example.org/" + draw(names),
        "expires": draw(st.integers(20_000, 40_000)) * 86_400,
        "retention_days": draw(st.integers(1, 3653)),
        "lateness": draw(st.integers(1, 366)) * 86_400,
        "resolution": draw(st.integers(1, 144)) * 600,
        "release": release,
        "pseudonym": draw(st.sampled_from(("none", "session", "day"))),
        "entropy_bits": 28,
        "chart": draw(st.sampled_from(["line", "table", *(f"bar:{f['name']}" for f in kept)])),
        "fields": kept,
        "one_in": draw(ascending(1, 1_000_000, most=3)),
        "work": draw(st.integers(0, 24)),
    }
    if kind == "count":
        most_count = draw(st.integers(1, 5 if small else 2**20))
        wire["count"] = {"max": most_count, "window": draw(st.integers(600, 90_000))}
    if kind == "sequence":
        wire["sequence"] = {
            "steps": draw(st.lists(names, min_size=1, max_size=3, unique=True)),
            "offset_edges": draw(ascending(1, 90_000, least=0, most=2 if small else 4)),
            "max_steps": draw(st.integers(1, 3 if small else 6)),
        }
    return wire if _fits(wire) else {**wire, "fields": [], "chart": "line"}


def _fits(wire: dict[str, Any]) -> bool:
    reader = Reader(strict=False)
    read_type(reader, "x" * 32, wire)
    return not reader.problems


def type_of(wire: dict[str, Any], name: str = "sample") -> EventType:
    """The event type that a payload map declares."""
    found = read_type(Reader(strict=True), name, wire)
    assert found is not None
    assert found.max_report_bytes <= REPORT_MAX
    assert found.max_payload_bytes < REPORT_MAX - ENVELOPE_SIZE
    return found


@st.composite
def catalog_maps(draw: st.DrawFn) -> dict[str, Any]:
    """A catalog as a payload map."""
    number = draw(st.integers(1, 2**32 - 1))
    wire: dict[str, Any] = {
        "label": draw(labels),
        "number": number,
        "contact": draw(prose),
        "types": draw(st.dictionaries(names, type_maps(), min_size=1, max_size=2)),
    }
    if number > 1:
        wire["previous"] = draw(st.binary(min_size=32, max_size=32))
    read_content(Reader(strict=True), wire)
    return wire
