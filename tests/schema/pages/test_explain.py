"""The texts for durations, kinds and pseudonyms, and the JSON Schema, cover every declaration."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from tests.schema.declarations import type_maps, type_of

from methrics.schema.catalog.event_type import KINDS, PSEUDONYMS, EventType
from methrics.schema.example import example_catalog
from methrics.schema.pages.explain import (
    KIND_WORDS,
    PSEUDONYM_WORDS,
    duration,
    json_schema,
)

CATALOG = example_catalog()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "no time"),
        (1, "1 second"),
        (90, "90 seconds"),
        (600, "10 minutes"),
        (3600, "1 hour"),
        (86_400, "1 day"),
        (259_200, "3 days"),
        (90_000, "25 hours"),
    ],
)
def test_durations(seconds: int, words: str) -> None:
    assert duration(seconds) == words


def test_every_kind_and_pseudonym_has_words() -> None:
    assert tuple(KIND_WORDS) == KINDS
    assert tuple(PSEUDONYM_WORDS) == PSEUDONYMS


def conforms(schema: Any, value: Any) -> bool:
    """A validator for the part of JSON Schema used here, written from the specification."""
    import re

    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if "type" in schema and type(value) is not kinds[schema["type"]]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and not any(type(v) is type(value) and v == value for v in schema["enum"]):
        return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, dict):
        known = schema.get("properties", {})
        return bool(
            len(value) >= schema.get("minProperties", 0)
            and all(name in value for name in schema.get("required", ()))
            and all(name in known and conforms(known[name], item) for name, item in value.items())
        )
    if isinstance(value, list):
        parts = schema.get("prefixItems", [schema.get("items", {})] * len(value))
        return bool(
            schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 99)
            and all(conforms(part, item) for part, item in zip(parts, value, strict=False))
        )
    if type(value) is int:
        return bool(
            schema.get("minimum", value) <= value <= schema.get("maximum", value)
            and value < schema.get("exclusiveMaximum", value + 1)
            and value % schema.get("multipleOf", 1) == 0
        )
    return True


def report(entry: EventType) -> dict[str, Any]:
    """A report's payload as JSON."""
    found: dict[str, Any] = {
        "catalog": "00" * 32,
        "type": entry.name,
        "time": 1_800_000_000 // entry.resolution * entry.resolution,
        "values": {},
    }
    samples: dict[str, Any] = {
        "enum": "other",
        "flag": True,
        "bucket": 1,
        "version": "other",
        "country": "ZZ",
        "language": "other",
        "count": 1,
    }
    found["values"] = {field.name: samples[field.type] for field in entry.fields}
    if entry.max_count is not None:
        found["count"] = entry.max_count
    if entry.sequence is not None:
        found["sequence"] = [[entry.sequence.steps[0], 0]]
    return found


@pytest.mark.parametrize("entry", CATALOG.types.values(), ids=list(CATALOG.types))
def test_the_json_schema_takes_a_report_and_refuses_what_the_type_refuses(
    entry: EventType,
) -> None:
    schema, good = json_schema(entry), report(entry)
    assert conforms(schema, good)
    field = entry.fields[0]
    for wrong in (
        {**good, "type": "other"},
        {**good, "time": good["time"] + 1},
        {**good, "time": 1_900_000_200},
        {**good, "values": {"email": "a@b"}},
        {**good, "values": {field.name: "NotAWord"}},
        {**good, "values": {field.name: 3}},
        {**good, "extra": 1},
        {**good, "one_in": 7},
        {**good, "count": 0},
        {**good, "sequence": [["nothing", 0]]},
        {**good, "sequence": []},
        {key: value for key, value in good.items() if key != "values"},
    ):
        assert not conforms(schema, wrong)


@settings(max_examples=50)
@given(type_maps())
def test_the_json_schema_agrees_with_the_wire_check(wire: dict[str, Any]) -> None:
    entry = type_of(wire)
    schema: Any = json_schema(entry)
    values = schema["properties"]["values"]["properties"]
    for field in entry.fields:
        for value in ("other", "ZZ", "a", "1.0", "1.0.0", "01.0", True, 0, 1, 64, 65, 70_000, -1):
            agreed = conforms(values[field.name], value) == field.check(value)
            # A regular expression cannot limit the size of a version's parts.
            assert agreed or (field.type == "version" and not field.check(value))
