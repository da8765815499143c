"""Records successive events as the steps of a declared `sequence`: one report per interaction."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from methrics.node.record.recorder import Recorder
    from methrics.node.record.sequences import Sequence

TIMEOUT = 1800.0
"""Default seconds of an interaction: after half an hour, most analytics tools begin a new session,
too."""


class Steps(NamedTuple):
    """Maps events to the steps of one interaction.

    `steps`: event name -> declared step. The first event begins an interaction; when it comes
    again, it ends that interaction and begins a new one. `ends`: event names that end an
    interaction; by default the last event of `steps`. `timeout`: seconds from the beginning of an
    interaction; if it is still open then, the next event or the app's exit ends and records it.
    """

    steps: Mapping[str, str]
    ends: Collection[str] = ()
    timeout: float = TIMEOUT

    def last(self) -> frozenset[str]:
        """Returns the names of the events that end an interaction."""
        return frozenset(self.ends or list(self.steps)[-1:])


class _Open(NamedTuple):
    sequence: Sequence
    deadline: float


class Interactions:
    """The open interactions of one event type, one for each `who`; safe to share between threads.

    `who` is a number that distinguishes the users of a server in one process. It is kept in memory
    only, and only while the interaction is open. The recorder limits the number of open
    interactions.
    """

    def __init__(self, recorder: Recorder, type_name: str, how: Steps) -> None:
        self._recorder = recorder
        self._type = type_name
        self._steps = dict(how.steps)
        self._first = next(iter(self._steps))
        self._ends = how.last()
        self._timeout = how.timeout
        self._open: dict[int, _Open] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._watched = False

    def takes(self, event: str) -> bool:
        """Whether an event of that name is one of the steps."""
        return event in self._steps

    def step(self, event: str, who: int, values: Mapping[str, object], monotonic: float) -> str:
        """Adds one step to the interaction of `who`. Returns "" or the reason why it did not:
        `no-interaction` if none is open, else `not-recorded`."""
        self._watch()
        with self._lock:
            self._expire(monotonic)
            if event == self._first:
                self._end(who)
                sequence = self._recorder.sequence(self._type)
                if sequence.event_type is None:
                    return "not-recorded"
                self._open[who] = _Open(sequence, monotonic + self._timeout)
            found = self._open.get(who)
            if found is None:
                return "no-interaction"
            added = found.sequence.step(self._steps[event])
            if values:
                found.sequence.set(**values)
            if event in self._ends:
                self._end(who)
            return "" if added else "not-recorded"

    def expire(self, monotonic: float) -> None:
        """Ends and records the interactions that are past their timeout."""
        if not self._open:
            return
        self._watch()
        with self._lock:
            self._expire(monotonic)

    def _expire(self, monotonic: float) -> None:
        if os.getpid() != self._pid:  # the parent records the interactions that it began
            self._pid = os.getpid()
            self._open.clear()
        while self._open:
            who, oldest = next(iter(self._open.items()))
            if oldest.deadline > monotonic:
                break
            self._end(who)

    def _end(self, who: int) -> None:
        found = self._open.pop(who, None)
        if found is not None:
            found.sequence.finish()

    def _watch(self) -> None:
        if not self._watched:
            from methrics.node.process.forks import watch

            watch(self)
            self._watched = True

    def before_fork(self, patience: float) -> bool:
        """Part of `forks.Forkable`."""
        return self._lock.acquire(True, patience)

    def after_fork(self) -> None:
        """Part of `forks.Forkable`."""
        self._lock.release()

    def abandon(self) -> None:
        """Part of `forks.Forkable`."""
        self._lock = threading.Lock()
