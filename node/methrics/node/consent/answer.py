"""Answers: what a person said about an event type, and what holds because of a rule."""

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
"""Names of the rules, as `Effective.rule` gives them. The last four are the person's word: an
answer; an answer to a question that has changed since; a postponed one; none yet."""

EVERY = "*"
"""Stands for every event type of an app, those to come included, and for every app. Event types
and namespaces cannot be called that. Only a no is ever kept under it."""


class Answer(NamedTuple):
    """What a person said about one event type of one namespace.

    `fields`: names that may be shared, None for every field. `routes`: how reports may travel.
    `time`: when, "2026-01-31T12:00:00Z"; such texts sort by time. `later`: when the person last
    said "not now", "" for never; with `on` an older yes stands beside it, for what that covered.
    `shown`: the event type as the person was shown it (`EventType.to_wire`), None if the answer
    came without a question, as a script's does. `catalog`: number of the catalog that was shown.
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
    """What holds for one event type, and the rule that decided it.

    `fields` None means every field; with `on` False, `fields` and `routes` are empty.
    """

    on: bool
    rule: str
    fields: frozenset[str] | None
    routes: frozenset[str]


Answers = Mapping[str, Mapping[str, Answer]]
"""The ledger's content: namespace -> event type -> answer."""
