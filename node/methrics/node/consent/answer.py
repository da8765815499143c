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
"""Names of the rules that can decide (`Effective.rule`). The last four are about the person's own
answer. ANSWER: the answer decides. CHANGED: its question has changed since. NOT_NOW: the person put
it off. DEFAULT: there is no answer yet."""

EVERY = "*"
"""As the name of an event type: every type of the app, later ones included. As a namespace: every
app, later ones included. No event type or namespace has this name. Only a no is stored under it."""


class Answer(NamedTuple):
    """A person's answer about one event type of one app.

    `on`: whether the person said yes. `fields`: the fields that may be shared, None for every
    field. `routes`: the routes by which reports may leave. `time`: when the answer was given, such
    as "2026-01-31T12:00:00Z"; these texts sort by time. `later`: when the person last said "not
    now", "" for never; if `on` is True too, the earlier yes is still valid for the fields that it
    covered. `shown`: the event type as the person saw it (`EventType.to_wire`), None if none was
    shown, as with a script. `catalog`: number of the catalog that was shown. `through`: how the
    answer was given, such as "terminal" or "command". `left_out`: the fields that the person saw
    and did not agree to, in this answer or an earlier one, and has not agreed to since.
    """

    on: bool
    fields: frozenset[str] | None
    routes: frozenset[str]
    time: str = ""
    later: str = ""
    shown: Mapping[str, object] | None = None
    catalog: int = 0
    through: str = ""
    left_out: frozenset[str] = frozenset()

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
"""The answers in the ledger: for each namespace, the answers by event type."""
