"""A catalog draft as TOML: the text that its author goes on with, and what it declares (pure)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from methrics.aggregate.mixpanel.infer import Declared
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.source import CatalogSource, read_source
from methrics.schema.wire.limits import ENTROPY_MAX

YEAR = 365 * 86_400
"""Seconds ahead that a draft's types expire."""

_HUMAN = ("question", "why", "owner", "review")
_FILLED = {
    "question": "What is it for?",
    "why": "-",
    "owner": "-",
    "review": "https://example.org/review",
    "contact": "https://example.org/contact",
}
_HINT = {
    "question": "what do you want to know? end it in a question mark",
    "why": "what will you decide by it?",
    "owner": "who answers for it?",
    "review": "where was it agreed upon? a link, https://",
    "contact": "whom can people ask? a link or an address",
}

_RELEASE = "delay = 600\njitter = 7200"
_DAILY = """resolution = 86400"""
_DAILY_RELEASE = "delay = 300\nevery = [3600, 43200]\njitter = 10800"
_FLAGS = """
[types.heartbeat.fields.daily]
type = "flag"
source = "first_of_day"
says = "Whether this is your first report of the day, so that you are counted once."

[types.heartbeat.fields.weekly]
type = "flag"
source = "first_of_week"
says = "Whether this is your first report of the week, so that you are counted once."

[types.heartbeat.fields.monthly]
type = "flag"
source = "first_of_month"
says = "Whether this is your first report of the month, so that you are counted once."

[types.heartbeat.fields.age]
type = "bucket"
edges = [1, 4, 24]
unit = "weeks"
source = "install_age"
says = "Roughly how long ago you began to use the app."
"""
_MILESTONE = """
[types.retention.fields.milestone]
type = "enum"
values = ["d0", "d1", "d7", "d30"]
source = "milestone"
says = "That this is your first day with the app, or the day 1, 7 or 30 days after it."
"""


class LeftOut(NamedTuple):
    """Something of the export that the draft has no place for."""

    event: str
    """Name of the event; empty for what is on all of them."""
    key: str
    """Name of the property; empty for the event itself."""
    why: str
    n: int
    """Events it stands for."""


class Drafted(NamedTuple):
    """One event type of the draft."""

    name: str
    kind: str
    event: str
    """What it comes from, for a comment."""
    fields: list[Declared]
    steps: tuple[str, ...] = ()


class Draft(NamedTuple):
    """`types` in the order of the source, which `source` writes."""

    label: str
    types: list[Drafted]
    left_out: list[LeftOut]
    expires: int

    def source(self, *, filled: bool = False) -> str:
        """The catalog source. `filled`: with stand-ins where a person has to write."""
        expires = datetime.fromtimestamp(self.expires, UTC).date().isoformat()
        parts = [_head(self, filled=filled)]
        parts += [_typed(one, expires, filled=filled, left=self._left(one)) for one in self.types]
        return "\n".join(parts)

    def _left(self, one: Drafted) -> list[LeftOut]:
        return [left for left in self.left_out if left.event == one.event and left.key]


def known_type(one: Drafted, now: int) -> EventType | None:
    """The event type as the draft declares it; None if it breaks a rule of the wire."""
    whole = Draft("draft", [one], [], now + YEAR)
    found = read_source(whole.source(filled=True))
    return found.types[one.name] if isinstance(found, CatalogSource) else None


def _head(whole: Draft, *, filled: bool) -> str:
    lines = [
        "# A draft made from a Mixpanel export. Write what stands empty, throw out what you do not",
        "# need, then: methrics catalog lint, methrics catalog sign.",
        "",
        "[catalog]",
        f"label = {_quoted(whole.label)}",
        _human("contact", filled=filled),
        "",
    ]
    for left in whole.left_out:
        if not left.event:
            lines.append(f"# left out, on every event: {_comment(left.key)} ({left.why})")
        elif not left.key:
            lines.append(f"# left out: {_comment(left.event)}, {left.n} events ({left.why})")
    return "\n".join(lines) + "\n"


def _typed(one: Drafted, expires: str, *, filled: bool, left: list[LeftOut]) -> str:
    lines = [f"# {_comment(one.event)}"]
    lines += [f"# left out: {_comment(each.key)} ({each.why})" for each in left]
    lines += [f"[types.{one.name}]", f'kind = "{one.kind}"']
    lines += [_human(key, filled=filled) for key in _HUMAN]
    lines += [f"expires = {expires}", "retention_days = 365"]
    if one.kind == "state":
        lines.append(_DAILY)
    lines += [f"entropy_bits = {_bits(one, filled=filled)}", f'chart = "{_chart(one)}"', ""]
    lines.append(f"[types.{one.name}.release]")
    lines.append(_DAILY_RELEASE if one.kind == "state" else _RELEASE)
    if one.kind == "count":
        lines += ["", f"[types.{one.name}.count]", "max = 1000", "window = 86400"]
    elif one.kind == "sequence":
        steps = ", ".join(_quoted(step) for step in one.steps)
        lines += ["", f"[types.{one.name}.sequence]", f"steps = [{steps}]"]
        lines += ["offset_edges = [10, 60, 300]", f"max_steps = {len(one.steps)}"]
    text = "\n".join(lines) + "\n"
    text += {"heartbeat": _FLAGS, "retention": _MILESTONE}.get(one.name, "")
    return text + "".join(_field(one.name, field) for field in one.fields)


def _field(type_name: str, field: Declared) -> str:
    lines = ["", f"[types.{type_name}.fields.{field.name}]"]
    if field.note:
        lines.insert(1, f"# {field.note}")
    lines.append(f'type = "{field.type}"')
    for key, values in field.params.items():
        lines.append(f"{key} = [{', '.join(map(_literal, values))}]")
    lines.append(f"says = {_quoted(field.says)}")
    return "\n".join(lines) + "\n"


def _bits(one: Drafted, *, filled: bool) -> int:
    """The budget that the type needs; a filled source is what tells."""
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


def _human(key: str, *, filled: bool) -> str:
    if filled:
        return f"{key} = {_quoted(_FILLED[key])}"
    return f'{key} = ""  # write: {_HINT[key]}'


def _literal(value: object) -> str:
    return (
        f"{value:f}"
        if isinstance(value, Decimal)
        else (str(value) if isinstance(value, int) else _quoted(str(value)))
    )


def _quoted(text: str) -> str:
    """A TOML string."""
    return json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    """Untrusted text within a comment: one line, printable, short."""
    return "".join(char if char.isprintable() else "?" for char in text[:80])
