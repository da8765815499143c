"""What an older yes still covers once the app's catalog asks for something else (pure).

The rule, chosen so that an upgrade can only ever narrow what leaves:

- a field that is new, can say more than before, or means something else is off until the person is
  asked again; the other fields of the type go on under the old answer;
- where the type itself asks for more (its purpose, owner, kind, pseudonym, longer retention, finer
  times, sooner release, ...) the whole type is off until the person is asked again;
- what asks for less, or is only worded differently, changes nothing, and neither does anything that
  happens to a field the person had left out.

What counts as more is decided in one place, `methrics.schema.catalog.diff`, which
`methrics catalog diff` shows to the catalog's author.
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
    """What is left of a yes. `fields`: names that may still be shared, None if the type is off.
    `changes`: in words, why the person is to be asked again; empty if there is no need."""

    fields: frozenset[str] | None
    changes: tuple[str, ...]


class _One:
    """One event type, in the shape that `diff` compares."""

    def __init__(self, event_type: EventType) -> None:
        self.types: Mapping[str, EventType] = {event_type.name: event_type}


def covered(answer: Answer, declared: EventType) -> Covered:
    """What `answer`, a yes to the type as it was shown then, covers of the type `declared` now.

    An answer that came without a question (a script's grant) covers what it names, whatever the
    catalog says: nobody was told what it would mean.
    """
    names = frozenset(field.name for field in declared.fields)
    agreed = names if answer.fields is None else answer.fields & names
    if answer.shown is None or answer.shown == declared.to_wire():
        return Covered(agreed, ())
    old = _read(declared.name, answer.shown)
    if old is None:
        return Covered(None, ("what was asked then cannot be read any more",))
    if answer.fields is None:
        agreed &= frozenset(field.name for field in old.fields)
    refused = {field.name for field in old.fields if field.name not in (answer.fields or agreed)}
    kept, words, whole = agreed, [], False
    for change in diff(_One(old), _One(declared)):
        field = _field(change.where)
        if not change.asks_again or field in refused:
            continue  # a field that was left out stays out, whatever becomes of it
        words.append(f"{_part(change.where)}: {change.message}")
        whole = whole or not field
        kept -= {field}
    gone = whole or (bool(agreed) and not kept)
    return Covered(None if gone else kept, tuple(words))


def _field(where: str) -> str:
    """`types.signin.fields.os.values` -> `os`; "" for what is not about one field."""
    place = where.split(".")
    return place[3] if len(place) > 3 and place[2] == "fields" else ""


def _part(where: str) -> str:
    """`types.signin.fields.os.values` -> `fields.os.values`."""
    return where.split(".", 2)[-1]


def _read(name: str, shown: Mapping[str, object]) -> EventType | None:
    try:
        return read_type(Reader(strict=True), name, dict(shown))
    except (RefusedError, TypeError, ValueError, OverflowError):
        return None
