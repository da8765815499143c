"""Keeps the steps of one interaction in memory, until they are recorded as one event."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from methrics.schema.errors import LocalError

if TYPE_CHECKING:
    from methrics.schema.catalog.event_type import EventType


class SequenceOwner(NamedTuple):
    """The methods of a recorder that its sequences call.

    `guard(work, *args)`: returns `work(*args)`; if `work` raises, counts the error and returns
    False. `monotonic`: returns seconds on a clock that never goes back. `coerce`: returns the wire
    values of some fields of a type. `drop`: counts a step or sequence that is not recorded, by
    reason. `end`: records the sequence, once; returns False if it is not recorded. `coerce`, `drop`
    and `end` may raise MethricsError, so they are called only by functions that run under `guard`,
    or as its `work`.
    """

    guard: Callable[..., bool]
    monotonic: Callable[[], float]
    coerce: Callable[[EventType, dict[str, object]], dict[str, str | int | bool]]
    drop: Callable[[str], None]
    end: Callable[[Sequence], bool]


class Sequence:
    """One interaction; `Recorder.sequence` makes it.

    A step is kept as its name and a bucket of seconds since the first step, without the exact time.
    Do not share a sequence between threads. A forked child does not record its parent's sequences.
    """

    __slots__ = (
        "_first",
        "_owner",
        "_pid",
        "answered",
        "event_type",
        "fields",
        "started",
        "steps",
    )

    def __init__(self, owner: SequenceOwner) -> None:
        self._owner = owner
        self._first: float | None = None
        self._pid = 0
        self.answered = ""
        self.event_type: EventType | None = None
        self.fields: dict[str, str | int | bool] = {}
        self.started = 0
        self.steps: list[tuple[str, int]] = []

    def __reduce__(self) -> tuple[Callable[[], Sequence], tuple[()]]:
        """A copy, also one in another process, records nothing: the original does."""
        return _stand_in, ()

    def begin(self, event_type: EventType, now: int, answered: str) -> None:
        """Starts the sequence. The recorder calls it if there is consent; without this call, every
        other method does nothing. `answered`: the time of the answer that allows it."""
        self.answered = answered
        self.event_type = event_type
        self.started = now
        self._pid = os.getpid()

    def step(self, name: str, /) -> bool:
        """Adds a declared step with the current time. A step after the first `max_steps` is
        counted as dropped, and False is returned."""
        if self.event_type is None:
            return False
        return self._owner.guard(self._step, name)

    def set(self, **values: object) -> bool:
        """Sets fields to values as for `record`; a later value replaces an earlier one."""
        if self.event_type is None:
            return False
        return self._owner.guard(self._set, values)

    def finish(self) -> bool:
        """Records the sequence, once. Returns False without consent, and for a sequence without
        steps (KPI-15)."""
        if self.event_type is None:
            return False
        return self._owner.guard(self._owner.end, self)

    @property
    def mine(self) -> bool:
        """Whether this process began the sequence: a forked child must not record it again."""
        return self._pid == os.getpid()

    def __enter__(self) -> Sequence:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Record it after an exception, too: a funnel must show where people give up.
        self.finish()

    def _step(self, name: str) -> bool:
        event_type = self.event_type
        assert event_type is not None
        declared = event_type.sequence
        assert declared is not None
        if name not in declared.steps:
            known = ", ".join(declared.steps)
            raise LocalError(
                "unknown-step", f"{event_type.name} has no step {name!r}; declared: {known}"
            )
        if len(self.steps) >= declared.max_steps:
            self._owner.drop("too-many-steps")
            return False
        now = self._owner.monotonic()
        if self._first is None:
            self._first = now
        self.steps.append((name, bisect_right(declared.offset_edges, now - self._first)))
        return True

    def _set(self, values: dict[str, object]) -> bool:
        assert self.event_type is not None
        self.fields.update(self._owner.coerce(self.event_type, values))
        return True


def _stand_in() -> Sequence:
    """Returns a sequence that never begins, so that it calls no method of its owner."""
    return Sequence(
        SequenceOwner(lambda *_: False, lambda: 0.0, lambda *_: {}, lambda _: None, lambda _: False)
    )
