"""Which questions to put to a person, and when to put none (pure).

An app asks unprompted only after it was started a few times and used for some minutes, and only if
no other app has asked lately: a person is asked once for all apps, not once by each. "Not now"
holds for 90 days, "no" for good. If an app was allowed before, a person is asked only about its new
types and those whose question has changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from methrics.node.consent.answer import Answer, Answers
from methrics.node.consent.covering import covered
from methrics.node.consent.decide import answer_of
from methrics.node.consent.ledger_format import stamp
from methrics.node.paths import namespace_of
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType

STARTS_MIN = 3
"""Starts of the app before it asks: a person who only tries it out is not asked (DEB-6)."""
USED_MIN = 300
"""Seconds of use before the app asks (DEB-6)."""
WAIT = 90 * 86_400
"""Seconds for which "not now" holds, and in which no second app asks unprompted (DEB-6)."""

NEW, CHANGED, ANSWERED = "new", "changed", "answered"
"""The state of a question: not decided yet; changed since a yes; decided (for settings pages)."""


@dataclass(frozen=True, slots=True)
class Uses:
    """How much the app was used, as the app counts it, because methrics stores nothing before a
    yes. `starts`: of the app, this one included; `seconds`: of use, in total."""

    starts: int
    seconds: float

    @property
    def enough(self) -> bool:
        """Whether the person knows the app well enough to be asked."""
        return self.starts >= STARTS_MIN and self.seconds >= USED_MIN


@dataclass(frozen=True, slots=True)
class Question:
    """One event type that a person decides about. `state`: NEW, CHANGED or ANSWERED; `changes`:
    for CHANGED, in words, how it asks for more than before; `answer`: the current one, if any;
    `still`: the fields that an earlier yes covers now."""

    catalog: Catalog
    event_type: EventType
    state: str
    changes: tuple[str, ...] = ()
    answer: Answer | None = None
    still: frozenset[str] = frozenset()

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
) -> list[Question]:
    """The questions to put to the person at `now` (unix seconds), in the catalogs' order.

    With `uses`, the app asks unprompted, so every reason to wait counts. Without, the person wants
    to decide, so only types with a final no are left out. `forbidden`: the rule that forbids
    everything, if any; then there are no questions. `asked`: when an app last asked unprompted
    (`Ledger.asked`).
    """
    if forbidden is not None or (uses is not None and not uses.enough):
        return []
    open_now = [
        question
        for question in every_question(catalogs, answers, now=now)
        if question.state != ANSWERED
    ]
    if uses is None:
        return open_now
    since = stamp(now - WAIT)
    due = [one for one in open_now if one.answer is None or one.answer.later <= since]
    if asked > since:
        due = [one for one in due if _said_yes(answers, one.namespace)]
    return due


def every_question(catalogs: Iterable[Catalog], answers: Answers, *, now: int) -> list[Question]:
    """A question for every event type that has not expired, decided or not."""
    return [
        _question(catalog, event_type, answers)
        for catalog in catalogs
        for event_type in catalog.types.values()
        if now < event_type.expires
    ]


def undecided(catalogs: Iterable[Catalog], answers: Answers, *, now: int) -> bool:
    """Whether any type waits for a first decision, and was not put off lately (MIM-1)."""
    since = stamp(now - WAIT)
    return any(
        question.state == NEW and (question.answer is None or question.answer.later <= since)
        for question in every_question(catalogs, answers, now=now)
    )


def _question(catalog: Catalog, event_type: EventType, answers: Answers) -> Question:
    namespace = namespace_of(catalog.label, catalog.short_key)
    answer = answer_of(answers, namespace, event_type.name)
    if answer is None or answer.said == "not-now":
        return Question(catalog, event_type, NEW, answer=answer)
    if not answer.on:
        return Question(catalog, event_type, ANSWERED, answer=answer)
    still = covered(answer, event_type)
    state = CHANGED if still.changes else ANSWERED
    return Question(catalog, event_type, state, still.changes, answer, still.fields or frozenset())


def _said_yes(answers: Answers, namespace: str) -> bool:
    return any(answer.on for answer in answers.get(namespace, {}).values())
