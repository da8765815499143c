"""Decides which questions to ask a person now (pure).

An app asks unprompted only if it was started a few times and used for some minutes, and only if no
other app has asked in the last 90 days, so that several apps do not ask one after the other. After
"not now", the person is not asked for 90 days; after "no", never. If an app was allowed before, the
person is asked only about its new types and those whose question has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from methrics.node.consent.answer import Answer, Answers
from methrics.node.consent.covering import covered, left_out
from methrics.node.consent.decide import answer_of
from methrics.node.consent.ledger_format import stamp
from methrics.node.outbox.records import Kept
from methrics.node.paths import namespace_of
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType

STARTS_MIN = 3
"""Least number of starts of the app before it asks, so that a person who only tries it out is not
asked (DEB-6)."""
USED_MIN = 300
"""Least seconds of use before the app asks (DEB-6)."""
WAIT = 90 * 86_400
"""Seconds after "not now" in which no app asks again, and after an app asked unprompted in which no
other does (DEB-6)."""

NO_RECORD = Kept()
NOTHING_KEPT: Mapping[str, Kept] = {}
NEW, CHANGED, ANSWERED = "new", "changed", "answered"
"""States of a question. NEW: not decided yet. CHANGED: the person said yes, and the question has
changed since. ANSWERED: decided; shown only on a page of settings."""


@dataclass(frozen=True, slots=True)
class Uses:
    """How much the app was used. The app must count this, because methrics stores nothing before a
    yes. `starts`: how often the app was started, this time included. `seconds`: the total time of
    use."""

    starts: int
    seconds: float

    @property
    def enough(self) -> bool:
        """Whether the app was started and used often enough to ask."""
        return self.starts >= STARTS_MIN and self.seconds >= USED_MIN


@dataclass(frozen=True, slots=True)
class Question:
    """One event type that a person decides about. `state`: NEW, CHANGED or ANSWERED. `changes`: if
    CHANGED, the reasons why it asks for more than before, in words. `answer`: the current answer,
    None if there is none. `still`: the fields that an earlier yes covers now. `left_out`: the
    declared fields that the person left out of an earlier yes, even if a no came after it.
    `lapsed`: whether the question has changed so much that an earlier yes covers none of it.
    `kept`: the record of the app's namespace, as far as this machine knows it."""

    catalog: Catalog
    event_type: EventType
    state: str
    changes: tuple[str, ...] = ()
    answer: Answer | None = None
    still: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    lapsed: bool = False
    kept: Kept = NO_RECORD

    @property
    def offered(self) -> frozenset[str]:
        """The fields that a yes to this question shares: all that are declared, without those that
        the person left out earlier."""
        return frozenset(field.name for field in self.event_type.fields) - self.left_out

    @property
    def namespace(self) -> str:
        """The app's name in the ledger."""
        return namespace_of(self.catalog.label, self.catalog.short_key)


def questions(
    catalogs: Iterable[Catalog],
    answers: Answers,
    *,
    now: int,
    uses: Uses | None = None,
    forbidden: str | None = None,
    asked: str = "",
    kept: Mapping[str, Kept] = NOTHING_KEPT,
) -> list[Question]:
    """Returns the questions to ask the person at `now` (Unix seconds), in the catalogs' order.

    With `uses`, the app asks unprompted, so questions that should wait are left out. Without
    `uses`, the person wants to decide, so only decided types are left out. `forbidden`: the rule
    that forbids everything, if any; then no question is returned. `asked`: when an app last asked
    unprompted (`Ledger.asked`). `kept`: as for `every_question`.
    """
    if forbidden is not None or (uses is not None and not uses.enough):
        return []
    open_now = [
        question
        for question in every_question(catalogs, answers, now=now, kept=kept)
        if question.state != ANSWERED
    ]
    if uses is None:
        return open_now
    since = stamp(now - WAIT)
    due = [one for one in open_now if one.answer is None or one.answer.later <= since]
    if asked > since:
        due = [one for one in due if _said_yes(answers, one.namespace)]
    return due


def every_question(
    catalogs: Iterable[Catalog],
    answers: Answers,
    *,
    now: int,
    kept: Mapping[str, Kept] = NOTHING_KEPT,
) -> list[Question]:
    """Returns a question for every event type that has not expired and is not revoked, decided or
    not. `kept`: the records that this machine knows, by the apps' names."""
    found = []
    for catalog in catalogs:
        own = kept.get(namespace_of(catalog.label, catalog.short_key), NO_RECORD)
        found += [
            replace(question_about(catalog, event_type, answers), kept=own)
            for event_type in catalog.types.values()
            if now < event_type.expires and own.revoked(event_type.name, now) is None
        ]
    return found


def question_about(catalog: Catalog, event_type: EventType, answers: Answers) -> Question:
    """Returns the question about one event type of `catalog`, decided or not."""
    namespace = namespace_of(catalog.label, catalog.short_key)
    answer = answer_of(answers, namespace, event_type.name)
    if answer is None:
        return Question(catalog, event_type, NEW)
    out = left_out(answer, event_type)
    if not answer.on:
        state = NEW if answer.said == "not-now" else ANSWERED
        return Question(catalog, event_type, state, answer=answer, left_out=out)
    part = covered(answer, event_type)
    return Question(
        catalog,
        event_type,
        CHANGED if part.changes else ANSWERED,
        part.changes,
        answer,
        part.fields or frozenset(),
        out,
        part.fields is None,
    )


def undecided(catalogs: Iterable[Catalog], answers: Answers, *, now: int) -> bool:
    """Returns whether the person has not decided about some type, and has not put it off in the
    last 90 days (MIM-1)."""
    since = stamp(now - WAIT)
    return any(
        question.state == NEW and (question.answer is None or question.answer.later <= since)
        for question in every_question(catalogs, answers, now=now)
    )


def _said_yes(answers: Answers, namespace: str) -> bool:
    return any(answer.on for answer in answers.get(namespace, {}).values())
