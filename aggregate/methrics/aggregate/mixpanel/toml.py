"""Writes a catalog draft as TOML, which its author then edits (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple

import tomlkit
from tomlkit.items import Item, Table
from tomlkit.toml_document import TOMLDocument

from methrics.aggregate.mixpanel.infer import Declared
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.source import CatalogSource, read_source
from methrics.schema.wire.limits import ENTROPY_MAX

YEAR = 365 * 86_400
"""Seconds until the types of a draft expire."""

_HUMAN = ("question", "why", "owner", "review")
_FILLED = {
    "question": "What is it for?",
    "why": "-",
    "owner": "-",
    "review": "https://example.org/review",
    "contact": "https://example.org/contact",
    "results": "https://example.org/results",
}
_HINT = {
    "question": "what do you want to know? end it in a question mark",
    "why": "what will you decide with it?",
    "owner": "who answers for it?",
    "review": "where was it agreed upon? a link, https://",
    "contact": "whom can people ask? a link or an address",
    "results": "where can people see the results? a link, https://",
}

_RELEASE = {"delay": 600, "jitter": 7200}
_DAILY_RELEASE = {"delay": 300, "every": [3600, 43200], "jitter": 10800}
_ONCE = "Whether this is your first report of the {}, so that you are counted once."
_SIGNS: dict[str, dict[str, dict[str, object]]] = {
    "heartbeat": {
        "daily": {"type": "flag", "source": "first_of_day", "says": _ONCE.format("day")},
        "weekly": {"type": "flag", "source": "first_of_week", "says": _ONCE.format("week")},
        "monthly": {"type": "flag", "source": "first_of_month", "says": _ONCE.format("month")},
        "age": {
            "type": "bucket",
            "edges": [1, 4, 24],
            "unit": "weeks",
            "source": "install_age",
            "says": "Roughly how long ago you began to use the app.",
        },
    },
    "retention": {
        "milestone": {
            "type": "enum",
            "values": ["d0", "d1", "d7", "d30"],
            "source": "milestone",
            "says": "That this is your first day with the app, "
            "or the day 1, 7 or 30 days after it.",
        },
    },
}
"""The fields that the node fills in, for the types that count any activity."""


class LeftOut(NamedTuple):
    """An event or property of the export that is not in the draft."""

    event: str
    """Name of the event; empty for a property of all events."""
    key: str
    """Name of the property; empty for the event itself."""
    why: str
    n: int
    """Number of events that had it."""


class Drafted(NamedTuple):
    """One event type of the draft."""

    name: str
    kind: str
    event: str
    """The Mixpanel event from which it was drafted, for a comment."""
    fields: list[Declared]
    steps: tuple[str, ...] = ()


class Draft(NamedTuple):
    """A catalog draft. `types` are in the order in which `source` writes them."""

    label: str
    types: list[Drafted]
    left_out: list[LeftOut]
    expires: int

    def source(self, *, filled: bool = False) -> str:
        """Write the catalog source as TOML. With `filled`, texts that a person has to write are
        placeholders instead of empty."""
        expires = datetime.fromtimestamp(self.expires, UTC).date()
        parts = [_head(self, filled=filled)]
        parts += [_typed(one, expires, filled=filled, left=self._left(one)) for one in self.types]
        return "\n".join(map(tomlkit.dumps, parts))

    def _left(self, one: Drafted) -> list[LeftOut]:
        return [left for left in self.left_out if left.event == one.event and left.key]


def known_type(one: Drafted, now: int) -> EventType | None:
    """Build the event type that the draft declares; None if it breaks a rule of the wire format."""
    whole = Draft("draft", [one], [], now + YEAR)
    found = read_source(whole.source(filled=True))
    return found.types[one.name] if isinstance(found, CatalogSource) else None


def _head(whole: Draft, *, filled: bool) -> TOMLDocument:
    part = tomlkit.document()
    part.add(
        tomlkit.comment("A draft made from a Mixpanel export. Fill in the empty strings, delete")
    )
    part.add(
        tomlkit.comment("what you do not need, then: methrics catalog lint, methrics catalog sign.")
    )
    part.add(tomlkit.nl())
    catalog = tomlkit.table()
    catalog.add("label", whole.label)
    catalog.add("contact", _human("contact", filled=filled))
    catalog.add("results", _human("results", filled=filled))
    catalog.add(tomlkit.nl())
    for left in whole.left_out:
        if not left.event:
            text = f"left out, on every event: {_comment(left.key)} ({left.why})"
            catalog.add(tomlkit.comment(text))
        elif not left.key:
            text = f"left out: {_comment(left.event)}, {left.n} events ({left.why})"
            catalog.add(tomlkit.comment(text))
    part.add("catalog", catalog)
    return part


def _typed(one: Drafted, expires: date, *, filled: bool, left: list[LeftOut]) -> TOMLDocument:
    part = tomlkit.document()
    entry = tomlkit.table()
    entry.add(tomlkit.comment(_comment(one.event)))
    for each in left:
        entry.add(tomlkit.comment(f"left out: {_comment(each.key)} ({each.why})"))
    entry.add("kind", one.kind)
    for key in _HUMAN:
        entry.add(key, _human(key, filled=filled))
    entry.add("expires", expires)
    entry.add("retention_days", 365)
    if one.kind == "state":
        entry.add("resolution", 86_400)
    entry.add("entropy_bits", _bits(one, filled=filled))
    entry.add("chart", _chart(one))
    _add_table(entry, "release", _DAILY_RELEASE if one.kind == "state" else _RELEASE)
    if one.kind == "count":
        _add_table(entry, "count", {"max": 1000, "window": 86_400})
    elif one.kind == "sequence":
        most = len(one.steps)
        steps = {"steps": list(one.steps), "offset_edges": [10, 60, 300], "max_steps": most}
        _add_table(entry, "sequence", steps)
    fields = tomlkit.table(is_super_table=True)
    for name, parameters in _SIGNS.get(one.name, {}).items():
        _add_table(fields, name, parameters)
    for field in one.fields:
        parameters = {"type": field.type, **field.params, "says": field.says}
        _add_table(fields, field.name, parameters, note=field.note)
    if fields:
        entry.add("fields", fields)
    types = tomlkit.table(is_super_table=True)
    types.add(one.name, entry)
    part.add("types", types)
    return part


def _add_table(parent: Table, name: str, values: Mapping[str, object], *, note: str = "") -> None:
    """Add `[parent.name]` after an empty line, with `note` as a comment before its values."""
    found = tomlkit.table()
    if note:
        found.add(tomlkit.comment(note))
    for key, value in values.items():
        found.add(key, _item(value))
    parent.add(name, found)


def _bits(one: Drafted, *, filled: bool) -> int:
    """Compute the entropy budget (bits) that the type needs, from a filled source."""
    if filled:
        return ENTROPY_MAX
    known = known_type(one, 0)
    assert known is not None
    return (known.domain - 1).bit_length()


def _chart(one: Drafted) -> str:
    if one.kind == "sequence":
        return "funnel"
    if one.kind == "state":
        return "line"
    named = [field.name for field in one.fields if field.type == "enum"]
    return f"bar:{named[0]}" if named else "line"


def _human(key: str, *, filled: bool) -> Item:
    """Return a text that a person has to write: a placeholder, or an empty text with a hint."""
    if filled:
        return tomlkit.string(_FILLED[key])
    return tomlkit.string("").comment(f"write: {_HINT[key]}")


def _item(value: object) -> Item:
    """Convert a value of a field's declaration to TOML. Decimals keep their digits."""
    if isinstance(value, list):
        found = tomlkit.array()
        found.extend(map(_item, value))
        return found
    return tomlkit.value(f"{value:f}") if isinstance(value, Decimal) else tomlkit.item(value)


def _comment(text: str) -> str:
    """Make untrusted text safe for a comment: one line, printable and short."""
    return "".join(char if char.isprintable() else "?" for char in text[:80])
