"""A person's answer about one event type, and the effective state that a rule makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

POLICY, DO_NOT_TRACK, SWITCH, CI, ENVIRONMENT, ANSWER, CHANGED, NOT_NOW, DEFAULT = (
    "policy",
    "do-not-track",
    "methrics-off",
    "ci",
    "environment",
    "answer",
    "changed",
    "not-now",
    "default",
)
"""Names of the rules that can decide (`Effective.rule`). The last four stand for the person's own
answer: it holds; its question has changed since; it was put off; there is none yet."""

EVERY = "*"
"""In place of an event type: every type of the app, later ones included. In place of a namespace:
every app. No event type and no namespace has this name. Only a no is stored under it."""


class Answer(NamedTuple):
    """A person's answer about one event type of one app.

    `fields`: names that may be shared, None for every field. `routes`: how reports may travel.
    `time`: when it was given, "2026-01-31T12:00:00Z"; these texts sort by time. `later`: when the
    person last said "not now", "" for never; with `on`, an earlier yes still holds for what it
    covered. `shown`: the event type as the person saw it (`EventType.to_wire`), None if none was
    shown, as with a script. `catalog`: number of the catalog that was shown. `through`: how the
    answer was given, such as "terminal" or "command".
    """

    on: bool
    fields: frozenset[str] | None
    routes: frozenset[str]
    time: str = ""
    later: str = ""
    shown: Mapping[str, object] | None = None
    catalog: int = 0
    through: str = ""

    @property
    def said(self) -> str:
        """The answer in one word: yes, no or not-now."""
        if self.on:
            return "yes"
        return "not-now" if self.later else "no"


class Effective(NamedTuple):
    """Whether one event type may be recorded, and the rule that decided it.

    `fields` None means every field; with `on` False, `fields` and `routes` are empty.
    """

    on: bool
    rule: str
    fields: frozenset[str] | None
    routes: frozenset[str]


Answers = Mapping[str, Mapping[str, Answer]]
"""The ledger's content: namespace -> event type -> answer."""
