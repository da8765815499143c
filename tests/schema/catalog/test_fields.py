"""Field types: which values the app may pass, and which values are valid on the wire."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from math import inf, log2, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema.declarations import decimals, field_maps, field_of, texts, wholes

from methrics.schema.catalog.fields import FIELD_TYPES, SOURCES, Field, read_field
from methrics.schema.catalog.regions import COUNTRIES, LANGUAGES
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import encode
from methrics.schema.wire.reading import BARRED, BLANK, Reader

# All kinds of values that a CBOR decoder can return, and some that an app may pass.
decodable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=5,
)


def field(type: str, **params: Any) -> Field:
    return field_of({"name": "sample", "type": type, "says": "Something.", **params})


def wire_values(declared: Field) -> list[object]:
    """All values that a field accepts, found by trying a superset."""
    version = [
        ".".join(map(str, parts))
        for parts in (
            [(a, b) for a in range(4) for b in range(4)]
            + [(a, b, c) for a in range(4) for b in range(4) for c in range(4)]
        )
    ]
    values = declared.params.get("values")
    listed = values if isinstance(values, list) else []
    everything = [*listed, *version, "other", "ZZ", True, False, *range(80)]
    unique = {(type(value), value) for value in everything}
    return [value for _, value in unique if declared.check(value)]


@given(field_maps(small=True))
def test_the_domain_is_the_number_of_wire_values(wire: dict[str, Any]) -> None:
    declared = field_of(wire)
    assert declared.domain == len(wire_values(declared))
    assert declared.bits == log2(declared.domain)


@given(field_maps(small=True))
def test_max_size_is_the_size_of_the_largest_wire_value(wire: dict[str, Any]) -> None:
    declared = field_of(wire)
    assert declared.max_size == max(len(encode(value)) for value in wire_values(declared))


@given(field_maps(), decodable)
def test_check_never_raises_and_coerce_raises_only_value_errors(
    wire: dict[str, Any], value: object
) -> None:
    declared = field_of(wire)
    accepted = declared.check(value)
    assert accepted is True or accepted is False
    try:
        coerced = declared.coerce(value)
    except ValueError as caught:
        error = caught
    else:
        assert declared.check(coerced)
        assert len(encode(coerced)) <= declared.max_size
        assert declared.label(coerced)
        return
    assert str(error).startswith(f"{declared.name}: ")
    assert "\n" not in str(error)


_GOOD = {
    "enum": st.text(max_size=40),
    "flag": st.booleans(),
    "bucket": st.integers() | st.floats(allow_nan=False),
    "version": st.text(max_size=40) | st.from_regex(r"v?\d{1,6}(\.\d{1,6}){0,3}(rc\d)?"),
    "country": st.sampled_from(sorted(COUNTRIES)) | st.text(max_size=3),
    "language": st.sampled_from(sorted(LANGUAGES)) | st.text(max_size=3),
    "count": st.integers(),
}


@given(field_maps(), st.data())
def test_every_value_of_the_right_python_type_is_coerced(
    wire: dict[str, Any], data: st.DataObject
) -> None:
    declared = field_of(wire)
    coerced = declared.coerce(data.draw(_GOOD[declared.type]))
    assert declared.check(coerced)
    kinds = {"text": str, "bool": bool, "u8": int, "u16": int}
    assert type(coerced) is kinds[declared.column]


@given(field_maps(small=True))
def test_wire_values_survive_coercion_unless_they_are_numbers_to_bucket(
    wire: dict[str, Any],
) -> None:
    declared = field_of(wire)
    if declared.type != "bucket":
        assert all(declared.coerce(value) == value for value in wire_values(declared))


@given(field_maps())
def test_a_field_reads_back_from_what_it_writes(wire: dict[str, Any]) -> None:
    declared = field_of(wire)
    assert declared.to_wire() == wire
    assert field_of(declared.to_wire()) == declared


def allowed(wire: dict[str, Any]) -> bool:
    reader = Reader(strict=False)
    read_field(reader, wire, "field", "sample")
    return not reader.problems


BUCKET = {"name": "sample", "type": "bucket", "says": "Something."}
close = st.sampled_from(["1000000000000000.11", "1000000000000000.12", "1000000000000000.125"])


@given(st.lists(wholes | decimals | close, min_size=1, max_size=4))
def test_edges_are_in_order_by_their_exact_values(edges: list[int | str]) -> None:
    ascending = all(low < high for low, high in pairwise(map(Fraction, edges)))
    assert allowed(BUCKET | {"edges": edges}) is ascending


@given(st.lists(close, min_size=2, max_size=3, unique=True))
def test_edges_that_are_one_double_bucket_without_error(edges: list[str]) -> None:
    declared = field_of(BUCKET | {"edges": sorted(edges)})
    assert declared.coerce(1e15) == 0
    assert declared.coerce(1e15 + 1) == len(edges)


@given(st.text(max_size=26) | texts(24) | texts(26))
def test_a_unit_is_a_line_of_at_most_24_bytes(unit: str) -> None:
    line = bool(unit.strip(BLANK)) and BARRED.isdisjoint(unit)
    fits = line and len(unit.encode()) <= 24
    assert allowed(BUCKET | {"edges": [1], "unit": unit}) is fits


@pytest.mark.shows("MIM-3")
def test_an_enum_knows_its_words_and_calls_the_rest_other() -> None:
    class Words(StrEnum):
        LINUX = "linux"

    declared = field("enum", values=["linux", "macos"])
    assert declared.coerce("linux") == "linux"
    assert declared.coerce("TempleOS") == "other"
    assert type(declared.coerce(Words.LINUX)) is str
    assert not declared.check("Linux")
    assert declared.label("macos") == "macos"
    with pytest.raises(ValueError, match="sample: should be text, is a whole number"):
        declared.coerce(3)


def test_a_flag_is_a_boolean_and_nothing_like_one() -> None:
    declared = field("flag")
    assert [declared.coerce(value) for value in (True, False)] == [True, False]
    assert not declared.check(1)
    assert not declared.check(0)
    for value in (1, 0, "yes", None):
        with pytest.raises(ValueError, match="True or False"):
            declared.coerce(value)


@pytest.mark.parametrize(
    ("raw", "index"),
    [(-inf, 0), (-1, 0), (0.49, 0), (0.5, 1), (1, 2), (9.99, 2), (10, 3), (10**400, 3), (inf, 3)],
)
def test_a_bucket_counts_the_edges_reached(raw: float, index: int) -> None:
    assert field("bucket", edges=["0.5", 1, 10]).coerce(raw) == index


def test_a_bucket_is_a_small_whole_number_on_the_wire() -> None:
    declared = field("bucket", edges=["0.5", 1, 10], unit="hours")
    assert [declared.check(value) for value in (0, 3, 4, -1, True, 1.0, "1")] == [
        *(True, True, False, False, False, False, False)
    ]
    assert [declared.label(index) for index in range(4)] == [
        "under 0.5 hours",
        "0.5 to under 1 hour",
        "1 to under 10 hours",
        "10 hours or more",
    ]
    for value in (nan, True, "3", None, Decimal(1)):
        with pytest.raises(ValueError, match="sample: "):
            declared.coerce(value)


@pytest.mark.parametrize(
    ("raw", "wire"),
    [
        ("3.4.5", "3.4"),
        ("v3.4", "3.4"),
        ("3", "3.0"),
        ("3.4rc1", "3.4"),
        ("03.04", "3.4"),
        ("9.20", "9.20"),
        ("9.21", "other"),
        ("10.0", "other"),
        ("", "other"),
        ("latest", "other"),
        ("3.99999999999999999999", "other"),
        ("٣.٤", "other"),
    ],
)
def test_versions_lose_their_last_part(raw: str, wire: str) -> None:
    assert field("version", max=[9, 20]).coerce(raw) == wire


def test_a_version_has_one_spelling_on_the_wire() -> None:
    declared = field("version", max=[9, 20])
    declared.coerce("v3.4")  # an input that `coerce` has seen must not become a valid wire value
    declared.coerce("3.4.5")
    assert declared.check("3.4")
    assert declared.check("other")
    for wire in ("v3.4", "3.4.5", "03.4", "3.4 ", "3", "3.", "3.21", "10.0", "٣.٤", "3.4\n"):
        assert not declared.check(wire)


def test_counts_are_clamped() -> None:
    declared = field("count", max=300)
    assert [declared.coerce(n) for n in (-5, 0, 299, 300, 10**30)] == [0, 0, 299, 300, 300]
    assert declared.column == "u16"
    assert field("count", max=255).column == "u8"
    assert declared.label(300) == "300 or more"
    for value in (True, 1.5, "3", None):
        with pytest.raises(ValueError, match="whole number"):
            declared.coerce(value)


@pytest.mark.shows("MARS-10")
def test_places_are_closed_lists() -> None:
    country, language = field("country"), field("language")
    assert (country.domain, language.domain) == (250, 184)
    assert country.coerce("FR") == "FR"
    assert country.coerce("fr") == "ZZ"
    assert country.coerce("XK") == "ZZ"
    assert language.coerce("de") == "de"
    assert language.coerce("tlh") == "other"
    coarse = field("country", values=["DE", "FR"])
    assert coarse.coerce("AT") == "ZZ"
    assert not coarse.check("AT")


def test_the_lists_of_places_are_well_formed() -> None:
    assert len(COUNTRIES) == 249
    assert len(LANGUAGES) == 183
    assert all(len(code) == 2 and code.isupper() and code.isascii() for code in COUNTRIES)
    assert all(len(code) == 2 and code.islower() and code.isascii() for code in LANGUAGES)
    assert "ZZ" not in COUNTRIES


def test_a_label_of_something_else_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a value"):
        field("enum", values=["a"]).label("b")


def test_every_source_names_a_field_type() -> None:
    assert set(SOURCES.values()) <= set(FIELD_TYPES)


@pytest.mark.parametrize(
    ("code", "wire"),
    [
        ("M002", {"type": "flag", "values": ["a"]}),
        ("M002", {"type": "flag", "colour": 1}),
        ("M003", {"type": "enum"}),
        ("M003", {"type": "flag", "says": None}),
        ("M004", {"type": "enum", "values": "linux"}),
        ("M004", {"type": "bucket", "edges": [0.5]}),
        ("M004", {"type": "bucket", "edges": ["0.50"]}),
        ("M004", {"type": "bucket", "edges": [2**53]}),
        ("M004", {"type": "count", "max": True}),
        ("M005", {"type": "count", "max": 0}),
        ("M005", {"type": "count", "max": 65_536}),
        ("M005", {"type": "version", "max": [1, 10_000]}),
        ("M006", {"type": "enum", "values": ["a\nb"]}),
        ("M006", {"type": "enum", "values": [" a"]}),
        ("M006", {"type": "enum", "values": ["a" * 33]}),
        ("M007", {"type": "flag", "says": " "}),
        ("M007", {"type": "flag", "says": "a\x1b[31m"}),
        ("M007", {"type": "flag", "says": "abc\u202edef"}),
        ("M007", {"type": "flag", "says": "é" * 121}),
        ("M008", {"type": "enum", "values": ["a", "a"]}),
        ("M009", {"type": "bucket", "edges": [2, 1]}),
        ("M009", {"type": "bucket", "edges": [1, 1]}),
        ("M010", {"type": "text"}),
        ("M010", {"type": ["enum"]}),
        ("M010", {"type": "country", "values": ["XX"]}),
        ("M010", {"type": "flag", "source": "address"}),
        ("M012", {"type": "flag", "name": "time"}),
        ("M012", {"type": "enum", "values": ["other"]}),
        ("M013", {"type": "enum", "values": []}),
        ("M013", {"type": "version", "max": [1]}),
        ("M013", {"type": "bucket", "edges": list(range(65))}),
        ("M019", {"type": "enum", "values": ["a"], "source": "first_of_day"}),
        ("M019", {"type": "bucket", "edges": [1], "source": "install_age"}),
        ("M019", {"type": "flag", "source": "milestone"}),
        ("M019", {"type": "enum", "values": ["d1", "d7"], "source": "milestone"}),
        ("M019", {"type": "enum", "values": ["d0", "d07"], "source": "milestone"}),
        ("M019", {"type": "enum", "values": ["d0", "week"], "source": "milestone"}),
        ("M019", {"type": "enum", "values": ["d0", "d7", "d1"], "source": "milestone"}),
        ("M019", {"type": "enum", "values": ["d0", "d401"], "source": "milestone"}),
        ("M008", {"type": "enum", "values": ["d0", "d0"], "source": "milestone"}),
    ],
)
def test_wrong_declarations_get_a_code_and_one_line(code: str, wire: dict[str, Any]) -> None:
    whole = {"name": "sample", "says": "Something.", **wire}
    if whole["says"] is None:
        del whole["says"]
    reader = Reader(strict=False)
    assert read_field(reader, whole, "types.t.fields.sample", whole["name"]) is None
    assert [problem.code for problem in reader.problems] == [code]
    line = str(reader.problems[0])
    assert line.startswith(f"error {code} types.t.fields.sample")
    assert line.isprintable()
    with pytest.raises(RefusedError, match=code) as caught:
        field_of(whole)
    assert caught.value.code == "off-schema"


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        ("weeks", "under 1 week"),
        ("extensions", "under 1 extension"),
        ("cores", "under 1 core"),
        ("GB", "under 1 GB"),
        ("ms", "under 1 ms"),
        ("classes", "under 1 classes"),
        ("entries", "under 1 entries"),
    ],
)
def test_exactly_one_has_a_singular_unless_the_plural_is_irregular(unit: str, shown: str) -> None:
    wire = {"name": "size", "type": "bucket", "edges": [1, 5], "unit": unit, "says": "How many."}
    field = field_of(wire)
    assert field.label(0) == shown
    assert field.label(1) == f"1 to under 5 {unit}"
