"""What holds now for one app, cheap enough to ask on every call of `record`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from methrics.node.clock import Clock
from methrics.node.consent import changes
from methrics.node.consent.answer import Answers, Effective
from methrics.node.consent.decide import answer_of, by_answer, forbidden, off
from methrics.node.paths import Paths
from methrics.schema.errors import StoreError

if TYPE_CHECKING:
    from methrics.schema.catalog.event_type import EventType

RECHECK = 1.0
"""Seconds between two looks at the files and the environment while an app records."""


class _Known(NamedTuple):
    """What the files said when they were looked at: put in place whole, so that of several threads
    that look at once each goes by one look."""

    seen: tuple[object, ...] | None
    policy_off: bool
    answers: Answers
    answered: dict[str, Effective]


class ConsentSwitch:
    """What holds now for one namespace, cheap enough to ask on every call.

    `types`: the app's event types as they are now, so that an answer to a question that has
    changed is told from one that still fits. `deadline` is the monotonic time until which
    `on_types` is to be believed; past it `refresh` looks at the files (by `stat`) and the
    environment again.
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
        self.on_types: dict[str, Effective] = {}
        self.rule: str | None = None
        self._paths = paths
        self._namespace = namespace
        self._environment = environment
        self._clock = clock
        self.types: Mapping[str, EventType] = types or {}
        self._known = _Known(None, False, {}, {})
        self._changes = 0

    def refresh(self) -> None:
        """Looks again. Never raises: what cannot be read means no, and is said once.

        The deadline moves last, so that no other thread believes what is not known yet.
        """
        deadline, count = self._clock.monotonic() + RECHECK, changes.count()
        seen = (_signature(self._paths.ledger), _signature(self._paths.policy))
        known = self._known
        if seen != known.seen:
            self._known = known = self._read(*seen)
        rule = forbidden(policy_off=known.policy_off, env=os.environ, environment=self._environment)
        self.rule, self.on_types = rule, {} if rule is not None else known.answered
        self._changes = count
        self.deadline = deadline

    def effective(self, type_name: str, monotonic: float | None = None) -> Effective:
        """What holds for one event type, after a fresh look if one is due at `monotonic` (now)."""
        if monotonic is None:
            monotonic = self._clock.monotonic()
        if monotonic >= self.deadline or self._changes != changes.count():
            self.refresh()
        found = self.on_types.get(type_name)
        if found is not None:
            return found
        if self.rule is not None:
            return off(self.rule)
        return self._decide(type_name, self._known.answers)

    def said(self, type_name: str) -> str:
        """When the person gave the answer seen last, as `Answer.time`; "" if there is none. For
        bridges: what was summed up since before a yes is not covered by it."""
        answer = answer_of(self._known.answers, self._namespace, type_name)
        return answer.time if answer is not None else ""

    def _read(self, ledger: object | None, policy: object | None) -> _Known:
        """The files that are there. Without any, as on most machines, nothing is imported."""
        seen = (ledger, policy)
        if ledger is None and policy is None:
            return _Known(seen, False, {}, {})
        from methrics.node.consent.ledger import policy_off, read_answers

        answers: Answers = {}
        try:
            answers = read_answers(self._paths.ledger)
        except StoreError as error:
            from methrics.node.process.exits import warn_once

            warn_once(f"metrics are off: {error}")
        decided = {one: self._decide(one, answers) for one in answers.get(self._namespace, {})}
        answered = {name: found for name, found in decided.items() if found.on}
        return _Known(seen, policy_off(self._paths.policy), answers, answered)

    def _decide(self, type_name: str, answers: Answers) -> Effective:
        return by_answer(answers, self._namespace, type_name, self.types.get(type_name))


def _signature(path: str) -> tuple[int, int, int] | None:
    """What changes when the file does; None without one."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
