"""Computes which fields an earlier yes still covers after the app's catalog has changed (pure).

An upgrade of an app can never make it send more than the person agreed to:

- A field that is new, can reveal more than before, or means something else is off until the person
  agrees to it. The earlier answer stays valid for the other fields of the type.
- If the type itself asks for more (purpose, owner, kind, pseudonym, longer retention, finer times,
  earlier release, ...), the whole type is off until the person agrees again.
- A change that asks for less, or only changes the wording, has no effect. A change to a field that
  the person left out has no effect either.

`methrics.schema.catalog.diff` alone decides which changes ask for more; `methrics catalog diff`
shows them to the catalog's author.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from methrics.node.consent.answer import Answer
from methrics.schema.catalog.diff import diff
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.rules import read_type
from methrics.schema.errors import RefusedError
from methrics.schema.wire.reading import Reader


class Covered(NamedTuple):
    """The part of an earlier yes that is still valid. `fields`: the fields that may be shared, None
    if the type is off. `changes`: the reasons to ask the person again, in words; empty if there is
    no reason."""

    fields: frozenset[str] | None
    changes: tuple[str, ...]


class _One:
    """One event type, in the shape that `diff` compares."""

    def __init__(self, event_type: EventType) -> None:
        self.types: Mapping[str, EventType] = {event_type.name: event_type}


def covered(answer: Answer, declared: EventType) -> Covered:
    """Returns which fields of the type `declared` are covered by `answer`, a yes to the type as it
    was when the person answered.

    If no question was shown, because a script wrote the answer, it covers the fields that it names,
    even if the catalog has changed since.
    """
    names = frozenset(field.name for field in declared.fields)
    agreed = names if answer.fields is None else answer.fields & names
    if answer.shown is None or answer.shown == declared.to_wire():
        return Covered(agreed, ())
    old = _read(declared.name, answer.shown)
    if old is None:
        return Covered(None, ("the question you answered cannot be read any more",))
    if answer.fields is None:
        agreed &= frozenset(field.name for field in old.fields)
    refused = {field.name for field in old.fields if field.name not in (answer.fields or agreed)}
    kept, words, whole = agreed, [], False
    for change in diff(_One(old), _One(declared)):
        field = _field(change.where)
        if not change.asks_again or field in refused:
            continue  # a field that was left out stays out, however it changes
        words.append(f"{_part(change.where)}: {change.message}")
        whole = whole or not field
        kept -= {field}
    gone = whole or (bool(agreed) and not kept)
    return Covered(None if gone else kept, tuple(words))


def left_out(answer: Answer, declared: EventType) -> frozenset[str]:
    """Returns the fields of the type `declared` that the person saw and did not agree to, up to and
    including `answer`. If `answer` is a yes and it is not known any more which fields were shown,
    those are all that it does not name."""
    names = frozenset(field.name for field in declared.fields)
    earlier = answer.left_out & names
    if not answer.on or answer.fields is None:
        return earlier
    old = None if answer.shown is None else _read(declared.name, answer.shown)
    seen = names if old is None else frozenset(field.name for field in old.fields)
    return earlier | ((seen & names) - answer.fields)


def _field(where: str) -> str:
    """Returns the field in the place of a change: `os` for `types.signin.fields.os.values`. Returns
    "" if the change is not about one field."""
    place = where.split(".")
    return place[3] if len(place) > 3 and place[2] == "fields" else ""


def _part(where: str) -> str:
    """Returns the place of a change within its type: `fields.os.values` for
    `types.signin.fields.os.values`."""
    return where.split(".", 2)[-1]


def _read(name: str, shown: Mapping[str, object]) -> EventType | None:
    try:
        return read_type(Reader(strict=True), name, dict(shown))
    except (RefusedError, TypeError, ValueError, OverflowError):
        return None
