"""Finds out whether one app may record now, fast enough for every call of `record`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from methrics.node.clock import Clock
from methrics.node.consent import changes
from methrics.node.consent.answer import Answers, Effective
from methrics.node.consent.decide import answer_of, by_answer, forbidden, off
from methrics.node.paths import Paths
from methrics.node.process.foreign import pass_on
from methrics.node.process.loading import loading
from methrics.schema.errors import StoreError

if TYPE_CHECKING:
    from methrics.schema.catalog.event_type import EventType

RECHECK = 1.0
"""Seconds between two checks of the files and the environment while an app records."""


_NOTHING: dict[str, Effective] = {}
"""`on_types` while a rule forbids all types: the same object, so that it counts as unchanged."""


class _Known(NamedTuple):
    """The content of the files when they were last read. It is always replaced as a whole, so that
    each thread decides by one consistent state."""

    seen: tuple[object, ...] | None
    policy_off: bool
    answers: Answers
    answered: dict[str, Effective]


class ConsentSwitch:
    """Tells whether the event types of one namespace may be recorded, fast enough for every call.

    `types`: the app's current event types, to find answers whose question has changed since.
    `on_types` is valid until the monotonic time `deadline`; after that, `refresh` checks the files
    (by `stat`) and the environment again. Each change gives a new object: a caller that remembers
    what follows from `on_types` compares it with `is`, for another call may have refreshed it.
    """

    def __init__(
        self,
        paths: Paths,
        namespace: str,
        environment: str,
        clock: Clock,
        types: Mapping[str, EventType] | None = None,
    ) -> None:
        self.deadline = -1.0
        self.on_types: dict[str, Effective] = _NOTHING
        self.rule: str | None = None
        self._paths = paths
        self._namespace = namespace
        self._environment = environment
        self._clock = clock
        self.types: Mapping[str, EventType] = types or {}
        self._known = _Known(None, False, {}, _NOTHING)
        changes.watch(self)

    def refresh(self) -> None:
        """Checks the files and the environment again. Never raises: if a file cannot be read,
        everything is off and one warning is logged. The deadline is set last, so that no other
        thread uses an incomplete state.
        """
        deadline, count = self._clock.monotonic() + RECHECK, changes.count()
        seen = (_signature(self._paths.ledger), _signature(self._paths.policy))
        known = self._known
        if seen != known.seen:
            self._known = known = self._read(*seen)
        rule = forbidden(policy_off=known.policy_off, env=os.environ, environment=self._environment)
        self.rule, self.on_types = rule, known.answered if rule is None else _NOTHING
        # A change during the reading counts as not seen yet.
        self.deadline = deadline if count == changes.count() else -1.0

    def effective(self, type_name: str, monotonic: float | None = None) -> Effective:
        """Returns whether one event type may be recorded. First calls `refresh` if the deadline has
        passed at `monotonic` (now, if None)."""
        if monotonic is None:
            monotonic = self._clock.monotonic()
        if monotonic >= self.deadline:
            self.refresh()
        found = self.on_types.get(type_name)
        if found is not None:
            return found
        if self.rule is not None:
            return off(self.rule)
        return self._decide(type_name, self._known.answers)

    def answer_time(self, type_name: str) -> str:
        """Returns when the person gave the current answer, as `Answer.time`; "" if there is no
        answer. Bridges need this, because a yes does not cover sums that began before it."""
        answer = answer_of(self._known.answers, self._namespace, type_name)
        return answer.time if answer is not None else ""

    def _read(self, ledger: object | None, policy: object | None) -> _Known:
        """Reads the files that exist. If neither exists, as on most machines, this saves the
        imports."""
        seen = (ledger, policy)
        if ledger is None and policy is None:
            return _Known(seen, False, {}, _NOTHING)
        with loading.hold():
            from methrics.node.consent.ledger import policy_off, read_answers

        answers: Answers = {}
        try:
            answers = read_answers(self._paths.ledger)
        except StoreError as error:
            if isinstance(error.__cause__, OSError):
                pass_on(error.__cause__)
            from methrics.node.process.exits import warn_once

            warn_once(f"metrics are off: {error}")
        decided = {one: self._decide(one, answers) for one in answers.get(self._namespace, {})}
        answered = {name: found for name, found in decided.items() if found.on}
        return _Known(seen, policy_off(self._paths.policy), answers, answered)

    def _decide(self, type_name: str, answers: Answers) -> Effective:
        return by_answer(answers, self._namespace, type_name, self.types.get(type_name))


def _signature(path: str) -> tuple[int, int, int] | None:
    """Returns a value that changes when the file changes; None if there is no file."""
    try:
        found = os.stat(path)
    except OSError as error:
        pass_on(error)
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
