"""Decides what a person's answer to a question means, the same way on every surface (pure).

The terminal prompt, the page, the commands and apps with an interface of their own all pass the
person's word through `means`. So a field that the person left out earlier stays out, whichever
surface asks about the rest, until the person names that field.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from methrics.node.consent.answer import EVERY
from methrics.node.consent.ledger_format import Edit
from methrics.node.consent.questions import Question

YES, NO, KEEP, NOT_NOW = "yes", "no", "keep", "not-now"
WORDS = (YES, NO, KEEP, NOT_NOW)
"""The words that a person can say to a question. YES: share what the question asks for. NO: share
nothing of this event type. KEEP: share what an earlier yes covers, and nothing more; without such a
yes, the same as NO. NOT_NOW: decide later; an earlier yes stays valid for what it covers."""

DEFAULT_ROUTES = ("relay",)
"""The routes of a yes that names none, if no earlier yes allowed others."""


def means(
    question: Question,
    said: str,
    *,
    fields: Collection[str] | None = None,
    routes: Collection[str] | None = None,
) -> Edit:
    """Returns the new answer that `said` (one of WORDS) makes of the earlier one, to be written.

    `fields`: the fields that the person chose by name. None means what the question offers: all
    declared fields without those that the person left out earlier. `routes`: the routes that the
    person chose. None means the routes of the earlier yes, or DEFAULT_ROUTES if there is none. Both
    matter only for a yes.
    """
    entry = question.event_type
    base = Edit(question.namespace, entry.name, said, (), (), entry, question.catalog.number)
    earlier = question.answer if question.answer is not None and question.answer.on else None
    if said == KEEP:
        if earlier is None or question.lapsed:
            return base._replace(said=NO)
        return base._replace(said=YES, fields=question.still, routes=earlier.routes)
    if said != YES:
        return base
    if fields is None:
        fields = question.offered
    if routes is None:
        routes = (earlier.routes if earlier is not None else ()) or DEFAULT_ROUTES
    return base._replace(fields=frozenset(fields), routes=tuple(sorted(routes)))


def with_later_types(edits: Collection[Edit], every: Iterable[Question]) -> list[Edit]:
    """Returns `edits`, and a no to later event types for each app that they refuse completely.

    `every`: a question for each event type of the apps. If the edits contain a no, and after them
    the person has said no to every event type of an app, the no also applies to the event types
    that the app adds later, so that the person is not asked about those.
    """
    said = {
        (one.namespace, one.event_type.name): one.answer.said if one.answer is not None else ""
        for one in every
    }
    said |= {(edit.namespace, edit.type): edit.said for edit in edits}
    refused = dict.fromkeys(edit.namespace for edit in edits if edit.said == NO)
    whole = [
        app for app in refused if all(word == NO for (name, _), word in said.items() if name == app)
    ]
    return [*edits, *(Edit(app, EVERY, NO) for app in whole)]
