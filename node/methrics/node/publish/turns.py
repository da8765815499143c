"""Decides when a publisher makes its next pass, and when it ends.

Over relays a pass is a visit, and follows the stored schedule (`schedule`). Only the first one
depends on what is due: it happens when something is due for the first time. A direct pass happens
whenever something is due. All methods block, for a worker.
"""

from __future__ import annotations

from typing import Protocol

from methrics.node.clock import Clock, Rng
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.visit_times import VisitTimes
from methrics.node.publish.results import PassResult
from methrics.node.publish.schedule import begun, put_off, succeeded


class Limits(Protocol):
    """Settings of a publisher, in seconds (`publisher.PublisherSettings`)."""

    @property
    def idle(self) -> float: ...
    @property
    def poll(self) -> float: ...
    @property
    def gap(self) -> tuple[float, float]: ...


class Turns(Protocol):
    """The times of the passes of one publisher. Every method raises StoreError."""

    def due(self) -> bool:
        """Whether a pass is to be made now."""
        ...

    def begin(self) -> None:
        """Note that a pass begins."""
        ...

    def end(self, result: PassResult) -> None:
        """Note what a pass did."""
        ...

    def wait(self) -> float | None:
        """Return the seconds until `due` is asked again, or None if the publisher is to end."""
        ...


class DirectTurns:
    """A pass at the beginning, and whenever something is due."""

    def __init__(self, journal: Journal, clock: Clock, settings: Limits) -> None:
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._result = PassResult()

    def due(self) -> bool:
        """See `Turns`."""
        return True

    def begin(self) -> None:
        """See `Turns`."""

    def end(self, result: PassResult) -> None:
        """See `Turns`."""
        self._result = result

    def wait(self) -> float | None:
        """See `Turns`."""
        due = self._journal.next_due()
        return pause(self._result, due, self._clock.now(), self._settings)


class VisitTurns:
    """A pass at each visit. `rng`: draws the times of the visits, and nothing else, so that they do
    not depend on anything that is due."""

    def __init__(self, journal: Journal, clock: Clock, settings: Limits, rng: Rng) -> None:
        self._journal = journal
        self._times = VisitTimes(journal)
        self._clock = clock
        self._settings = settings
        self._rng = rng
        self._result = PassResult()

    def due(self) -> bool:
        """See `Turns`."""
        when = self._next()
        return when is not None and when <= self._clock.now()

    def begin(self) -> None:
        """See `Turns`."""
        now = self._clock.now()
        self._times.save(begun(self._times.load(now), now, self._rng))

    def end(self, result: PassResult) -> None:
        """See `Turns`."""
        now, self._result = self._clock.now(), result
        if result.visited:
            self._times.save(succeeded(now, self._settings.gap, self._rng))
        elif result.visited is None and result.failed is None:
            self._times.clear()
        elif result.again and (stored := self._times.load(now)) is not None:
            self._times.save(put_off(stored, now, result.again))

    def wait(self) -> float | None:
        """See `Turns`."""
        return pause(self._result, self._next(), self._clock.now(), self._settings)

    def _next(self) -> int | None:
        """Return when the next visit is, or when something is due for the first one."""
        stored = self._times.load(self._clock.now())
        return self._journal.next_due() if stored is None else stored.next


def pause(result: PassResult, due: int | None, now: int, settings: Limits) -> float | None:
    """Return the seconds until the next pass, or None if the publisher is to end (pure).

    `due`: when the next row or report is due (unix seconds), or None if there is none.
    """
    wait = float("inf") if due is None else due - now
    if wait <= 0 and not (result.made or result.acknowledged or result.struck):
        return None  # what is due may not be sent now (consent, route), so running on is useless
    return None if wait > settings.idle else min(settings.poll, max(1.0, wait))
