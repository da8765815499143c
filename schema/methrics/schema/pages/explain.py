"""Describe the declarations of a catalog, in words for people and as JSON Schema for programs.

Every text is generated from the catalog, so it agrees with the reports sent (MIM-8, KPI-13).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from methrics.schema.catalog.chance import randomized_words
from methrics.schema.catalog.declares import Publishes
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import Field

KIND_WORDS = {
    "event": "one report each time it happens",
    "count": "one report per period, with the number of times it happened, counted on your machine",
    "state": "one report of the current values",
    "sequence": "one report of the steps that you took, after the last step",
}
PSEUDONYM_WORDS = {
    "none": "Each report has its own key, so no key or id shows that two reports are yours.",
    "session": "Anyone can see which reports belong to the same session.",
    "day": "Anyone can see which reports of one day belong to the same person.",
}
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class Described(Publishes, Protocol):
    """A catalog or its source, with its label, number and contact."""

    @property
    def label(self) -> str:
        """Return the label, the readable part of the topic."""
        ...

    @property
    def number(self) -> int:
        """Return the catalog's number; 1 for the first catalog of a namespace."""
        ...

    @property
    def contact(self) -> str:
        """Return the address for questions."""
        ...


def duration(seconds: int) -> str:
    """Write seconds in the largest unit that fits exactly: 259200 is "3 days"."""
    for size, unit in _UNITS:
        if seconds and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "no time"


def schedule(entry: EventType) -> str:
    """Describe in one sentence when reports of this type leave."""
    release = entry.release
    parts = [f"at least {duration(release.delay)} later"]
    if release.jitter:
        parts.append(f"plus up to {duration(release.jitter)} at random")
    if release.every is not None:
        low, high = map(duration, release.every)
        often = low if low == high else f"{low} to {high}"
        if entry.daily:
            days = "Once for each day (UTC) on which you use it"
            if entry.milestones is not None:
                days = f"Only for {_days(entry.milestones)}"
            return f"{days}, sent {', '.join(parts)}; if several wait, {often} apart."
        return f"Sent every {often}, {', '.join(parts)}."
    if entry.window is not None:
        return f"Summed for {duration(entry.window)}, sent {', '.join(parts)}."
    return f"Sent {', '.join(parts)}."


def _days(milestones: tuple[int, ...]) -> str:
    later = [str(day) for day in milestones if day]
    if not later:
        return "your first day (UTC)"
    days = f"days {', '.join(later[:-1])} and {later[-1]}" if later[1:] else f"day {later[0]}"
    return f"your first day (UTC) and {days} after it, if you use it then"


def allowed(field: Field) -> str:
    """Describe the values that a field can have."""
    if field.type == "flag":
        return "yes or no"
    if field.type == "version":
        most = field.params["max"]
        parts = most if isinstance(most, list) else []
        return f"up to {'.'.join(map(str, parts))}, else other"
    if field.type == "count":
        return f"0 to {field.params['max']}, larger values as {field.params['max']}"
    if field.type == "bucket":
        return ", ".join(field.label(index) for index in range(field.domain))
    values = field.params.get("values")
    if not isinstance(values, list):
        return {"country": "any country, else ZZ", "language": "any language, else other"}[
            field.type
        ]
    if field.source == "milestone":
        return ", ".join(map(str, values))
    rest = "ZZ" if field.type == "country" else "other"
    return f"{', '.join(map(str, values))}, else {rest}"


def json_schema(entry: EventType) -> dict[str, object]:
    """Return the JSON Schema (2020-12) of a report's payload in JSON, with the catalog id in
    hex."""
    values: dict[str, object] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {field.name: _described(field) for field in entry.fields},
    }
    if entry.fields and entry.kind in ("event", "state"):
        values["minProperties"] = 1
    properties: dict[str, object] = {
        "catalog": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "type": {"const": entry.name},
        "time": {
            "type": "integer",
            "minimum": 0,
            "multipleOf": entry.resolution,
            "exclusiveMaximum": entry.expires,
        },
        "values": values,
    }
    required = ["catalog", "type", "time", "values"]
    if entry.max_count is not None:
        properties["count"] = {"type": "integer", "minimum": 1, "maximum": entry.max_count}
        required.append("count")
    if entry.one_in != (1,):
        properties["one_in"] = {"enum": list(entry.one_in)}
    if entry.sequence is not None:
        pair = {
            "type": "array",
            "prefixItems": [
                {"enum": list(entry.sequence.steps)},
                {"type": "integer", "minimum": 0, "maximum": entry.sequence.buckets - 1},
            ],
            "minItems": 2,
            "maxItems": 2,
        }
        most = entry.sequence.max_steps
        properties["sequence"] = {"type": "array", "items": pair, "minItems": 1, "maxItems": most}
        required.append("sequence")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": entry.name,
        "description": entry.question,
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def _described(field: Field) -> dict[str, object]:
    schema = field.json_schema()
    meaning = schema.get("description")
    says = f"{field.says} ({meaning})" if meaning else field.says
    random = randomized_words(field)
    return {**schema, "description": f"{says} {random}" if random else says}


def date(time: int) -> str:
    """Write Unix seconds as the UTC day, such as `2028-07-01`."""
    return datetime.fromtimestamp(time, UTC).date().isoformat()
