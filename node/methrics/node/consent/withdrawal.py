"""Withdraws consent: writes the no to the ledger, then deletes what has not left.

Every surface uses these functions, so that a no stops the same things wherever a person says it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import NamedTuple

from methrics.node.clock import Clock
from methrics.node.consent.answer import EVERY, Answers
from methrics.node.consent.apps import known_catalogs
from methrics.node.consent.ledger import withdraw, write
from methrics.node.consent.ledger_format import Edit
from methrics.node.consent.meaning import with_later_types
from methrics.node.consent.questions import every_question
from methrics.node.outbox.journal import Journal
from methrics.node.paths import Paths, namespace_of
from methrics.schema.errors import StoreError


class Withdrawal(NamedTuple):
    """The result of a withdrawal. `deleted`: how many waiting events and unsent reports were
    deleted. `moved`: if the ledger was damaged, the name under which it was kept, else None."""

    deleted: int
    moved: str | None


def withdraw_app(
    paths: Paths, namespace: str, types: Collection[str] = (), *, clock: Clock, through: str
) -> Withdrawal:
    """Stops `types` of one app, or the whole app with the event types of its later versions if
    `types` is empty. If the person has then said no to every event type of the app, the no also
    covers its later types.

    `through`: how the person answered, for the ledger's history. Raises StoreError if the ledger
    cannot be written, and then deletes nothing; or if the outbox cannot be changed, and then the no
    is in the ledger, as the error says, and the publisher deletes the events at its next pass.
    """
    now = clock.now()
    found = [
        catalog
        for catalog in known_catalogs(paths)
        if namespace_of(catalog.label, catalog.short_key) == namespace
    ]

    def refused(before: Answers) -> list[Edit]:
        edits = [Edit(namespace, name, "no") for name in types]
        return with_later_types(edits, every_question(found, before, now=now)) if found else edits

    if types:
        moved = write(paths, refused, now=now, through=through)
    else:
        moved = withdraw(paths, namespace, now=now, through=through)
    deleted = forget_refused(paths, [(namespace, name) for name in types or (None,)], clock)
    return Withdrawal(deleted, moved)


def withdraw_everything(paths: Paths, *, clock: Clock, through: str) -> Withdrawal:
    """Stops every app, including apps that are installed later. Raises as `withdraw_app` does."""
    moved = withdraw(paths, EVERY, now=clock.now(), through=through)
    deleted = forget_refused(paths, [(name, None) for name in _folders(paths)], clock)
    return Withdrawal(deleted, moved)


def forget(paths: Paths, namespace: str, type_name: str | None, clock: Clock) -> int:
    """Deletes the waiting events and unsent reports of one type of an app, or of all its types.
    Returns how many were deleted. Raises StoreError."""
    journal = Journal(paths.outbox(namespace), clock=clock)
    if not journal.exists():
        return 0
    try:
        return journal.purge(type_name)
    finally:
        journal.close()


def forget_refused(paths: Paths, refused: Iterable[tuple[str, str | None]], clock: Clock) -> int:
    """Deletes what waits of each (namespace, type; None: all types) in `refused`, whose no is in
    the ledger. Returns how many were deleted. If an outbox cannot be changed, goes on with the
    others, then raises StoreError whose message says that the answer is stored."""
    deleted, failure = 0, None
    for namespace, type_name in refused:
        try:
            deleted += forget(paths, namespace, type_name, clock)
        except StoreError as error:
            failure = failure or error
    if failure is not None:
        raise StoreError(
            failure.code,
            "your answer is stored, and nothing that you refused leaves; but what waits is not "
            f"deleted yet: {failure.message}",
            "answer again to delete it now; the publisher also deletes it at its next pass",
        ) from failure
    return deleted


def _folders(paths: Paths) -> list[str]:
    try:
        return sorted(os.listdir(paths.data))
    except OSError:
        return []
