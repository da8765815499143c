"""The content of the consent ledger: answers, history, and the questions as shown (pure).

    {"version": 1,
     "asked": "2026-01-31T12:00:00Z",
     "apps": {"example-x7...": {"heartbeat": {
        "answer": "yes", "fields": ["os", "version"], "routes": ["relay"],
        "left_out": ["locale"], "time": "2026-01-31T12:00:00Z", "through": "terminal",
        "catalog": 1, "question": "0f3a..."}}},
     "history": [{"time": ..., "who": "ann", "through": "terminal", "app": ..., "type": ...,
                  "answer": "yes", "fields": ..., "routes": ..., "catalog": 1, "question": ...}],
     "questions": {"0f3a...": {"kind": "state", "question": ..., "fields": [...]}}}

`question` refers to `questions`, which contains each event type once, exactly as the person saw it.
`fields` null means all fields. A field stays in `left_out` after later answers, also after a no,
until the person agrees to it. If a yes also has "later", the person put off a changed question at
that time. Times are UTC texts, which sort by time. Unknown keys, from a later version of methrics,
are kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from methrics.node.consent.answer import Answer, Answers
from methrics.node.report.route_names import ROUTES

if TYPE_CHECKING:
    from methrics.schema.catalog.event_type import EventType

LEDGER_VERSION = 1
HISTORY_MAX = 1000
"""Only the newest HISTORY_MAX changes are kept. They take some 250 KB."""

SAID = ("yes", "no", "not-now")
"""The answers that a person can give."""

Document = dict[str, object]

_NOT_NOTED = ("time", "through", "left_out")
"""Keys of an answer that the history does not repeat."""


class Edit(NamedTuple):
    """One answer to be written. `said`: one of SAID. A "yes" only covers `fields` (None: all) and
    `routes`. `shown`: the event type that the person saw, None for a script. `catalog`: the number
    of its catalog."""

    namespace: str
    type: str
    said: str
    fields: Collection[str] | None = ()
    routes: Collection[str] = ()
    shown: EventType | None = None
    catalog: int = 0


def stamp(now: int) -> str:
    """Returns Unix seconds as a UTC text: "2027-01-15T08:00:00Z" for 1800000000."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))


def empty() -> Document:
    """Returns a ledger without answers."""
    return {"version": LEDGER_VERSION, "asked": "", "apps": {}, "history": [], "questions": {}}


def answers(document: Mapping[str, object]) -> Answers:
    """Returns every answer in a ledger. Raises KeyError, TypeError, ValueError or AttributeError if
    the document is no ledger."""
    shown = document.get("questions", {})
    if not isinstance(shown, dict):
        raise TypeError("questions")
    apps = document["apps"]
    if not isinstance(apps, dict):
        raise TypeError("apps")
    return {
        str(namespace): {str(name): _answer(entry, shown) for name, entry in types.items()}
        for namespace, types in apps.items()
    }


def asked(document: Mapping[str, object]) -> str:
    """Returns when an app last asked unprompted, "" for never. Raises TypeError."""
    return _text(document, "asked")


def history(document: Mapping[str, object]) -> list[dict[str, object]]:
    """Returns every change of an answer, oldest first. Raises TypeError."""
    entries = document.get("history", [])
    if not isinstance(entries, list):
        raise TypeError("history")
    return [entry for entry in entries if isinstance(entry, dict)]


def text_of(document: Document, limit: int) -> str:
    """Returns the ledger as JSON text of at most `limit` characters. While the text is too long,
    the older half of the history is dropped. Raises ValueError if the text is still too long
    without any history."""
    import json

    while len(text := json.dumps(document, indent=2, ensure_ascii=False) + "\n") > limit:
        entries = document["history"]
        if not isinstance(entries, list) or not entries:
            raise ValueError("too many answers")
        del entries[: (len(entries) + 1) // 2]
    return text


def apply(document: Document, edits: Collection[Edit], *, now: int, through: str, who: str) -> None:
    """Adds answers to a valid ledger and to its history. Raises as `answers` does."""
    apps, questions = document["apps"], document.setdefault("questions", {})
    entries = document.setdefault("history", [])
    if not isinstance(apps, dict) or not isinstance(questions, dict):
        raise TypeError("apps or questions")
    if not isinstance(entries, list):
        raise TypeError("history")
    when = stamp(now)
    for edit in edits:
        types = apps.setdefault(edit.namespace, {})
        question = ""
        if edit.shown is not None:
            question, wire = fingerprint(edit.shown)
            questions[question] = wire
        before = types.get(edit.type)
        entry = _entry(edit, when, through, question)
        entry["left_out"] = _left_out(edit, before, questions)
        if edit.said == "not-now" and before is not None and before.get("answer") == "yes":
            # The earlier yes stays valid for what it covered; only the changed question is put off.
            types[edit.type] = {**before, "later": when}
        else:
            types[edit.type] = entry
        note = {"time": when, "who": who, "through": through}
        note |= {"app": edit.namespace, "type": edit.type}
        entries.append(note | {k: v for k, v in entry.items() if k not in _NOT_NOTED})
    del entries[:-HISTORY_MAX]
    document["apps"] = {name: dict(sorted(apps[name].items())) for name in sorted(apps)}
    used = {entry.get("question") for types in apps.values() for entry in types.values()}
    document["questions"] = {key: questions[key] for key in sorted(used & questions.keys())}


def fingerprint(shown: EventType) -> tuple[str, dict[str, object]]:
    """Returns the name under which an event type is stored in the ledger, and its content. The name
    is the first 32 hex digits of the SHA-256 of its deterministic CBOR."""
    import hashlib

    from methrics.schema.wire.codec import encode

    wire = shown.to_wire()
    return hashlib.sha256(encode({shown.name: wire})).hexdigest()[:32], wire


def _entry(edit: Edit, when: str, through: str, question: str) -> dict[str, object]:
    yes = edit.said == "yes"
    fields: list[str] | None = sorted(set(edit.fields or ())) if yes else []
    if yes and edit.fields is None:
        # "All fields" means those that were shown, without fields that a later version adds.
        fields = [one.name for one in edit.shown.fields] if edit.shown is not None else None
    entry: dict[str, object] = {
        "answer": edit.said,
        "fields": fields,
        "routes": sorted(set(edit.routes)) if yes else [],
        "time": when,
        "through": through,
    }
    return entry | {"catalog": edit.catalog, "question": question} if question else entry


def _left_out(
    edit: Edit, before: Mapping[str, object] | None, questions: Mapping[str, object]
) -> list[str]:
    """Returns the names of the fields that the person has left out so far, sorted."""
    earlier = frozenset() if before is None else _answer(before, questions).left_out
    if edit.said != "yes":
        return sorted(earlier)
    shown = frozenset() if edit.shown is None else {one.name for one in edit.shown.fields}
    if edit.fields is None:
        return sorted(earlier - shown) if shown else []
    return sorted((earlier | shown).difference(edit.fields))


def _answer(entry: Mapping[str, object], questions: Mapping[str, object]) -> Answer:
    said, fields, routes = entry["answer"], entry["fields"], entry["routes"]
    left_out = entry.get("left_out", [])
    if said not in SAID:
        raise ValueError("answer")
    if fields is not None and not _names(fields):
        raise TypeError("fields")
    if not _names(routes):
        raise TypeError("routes")
    if not _names(left_out):
        raise TypeError("left_out")
    assert isinstance(routes, list)
    assert isinstance(left_out, list)
    assert fields is None or isinstance(fields, list)
    catalog, question = entry.get("catalog", 0), _text(entry, "question")
    when = _text(entry, "time")
    if type(catalog) is not int:
        raise TypeError("catalog")
    shown = questions[question] if question else None
    if shown is not None and not isinstance(shown, dict):
        raise TypeError("questions")
    return Answer(
        said == "yes",
        None if fields is None else frozenset(map(sys.intern, fields)),
        # An older version let people allow `tor`, a route that does not exist.
        frozenset(ROUTES).intersection(routes),
        when,
        {"yes": _text(entry, "later"), "not-now": when}.get(str(said), ""),
        shown,
        catalog,
        _text(entry, "through"),
        frozenset(map(sys.intern, left_out)),
    )


def _text(entry: Mapping[str, object], key: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise TypeError(key)
    return value


def _names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
