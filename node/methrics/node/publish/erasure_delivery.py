"""Chooses the erasures of one outbox that may leave, and stores what became of them.

All methods block, for a worker.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping

from methrics.node.clock import Clock
from methrics.node.outbox.erasures import Erasures, JournaledErasure
from methrics.node.outbox.rows import ACKNOWLEDGED, DUE, STRUCK
from methrics.node.publish.permission import AskConsent
from methrics.node.publish.results import PassResult
from methrics.node.publish.retries import backoff
from methrics.node.publish.routes import Fate, Outcome
from methrics.node.report.erasure import renewed, routes_open
from methrics.node.report.pacing import spread_again
from methrics.node.spool.records import catalog_number
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import LocalError, RefusedError
from methrics.schema.wire.envelope import Item, split
from methrics.schema.wire.items import decode_erasure


class ErasureDelivery:
    """The erasures of one outbox as a pass over the route `route_name` sees them."""

    def __init__(
        self,
        erasures: Erasures,
        consent: AskConsent,
        route_name: str,
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._erasures = erasures
        self._consent = consent
        self._route_name = route_name
        self._clock = clock
        self._rng = rng

    def waiting(self) -> dict[int, JournaledErasure]:
        """Return the erasures that may be sent over this route and are not acknowledged, by key
        index, also those that are not due yet or were handed over."""
        if not self.allowed():
            return {}
        routes = routes_open(self._route_name)
        return {
            index: one
            for index, one in self._erasures.all().items()
            if one.state == DUE and one.route in routes
        }

    def allowed(self) -> bool:
        """Whether this machine may send erasures now."""
        return self._consent().erasing

    def catalogs(self) -> set[int]:
        """Return the numbers of the catalogs of the reports whose erasures wait."""
        found = set[int]()
        for one in self.waiting().values():
            with contextlib.suppress(RefusedError):
                found.add(catalog_number(decode_erasure(split(one.raw).payload).catalog))
        return found

    def due(self) -> list[JournaledErasure]:
        """Return the due erasures, the earliest first."""
        if not self.allowed():
            return []
        return self._erasures.due(self._clock.now(), routes_open(self._route_name))

    def next(self) -> JournaledErasure | None:
        """Return one due erasure, drawn at random, and postpone the other due erasures."""
        due = self.due()
        if not due:
            return None
        chosen = self._rng.choice(due)
        self.set_apart(chosen)
        return chosen

    def set_apart(self, chosen: JournaledErasure | None) -> None:
        """Postpone all due erasures except `chosen` to newly drawn times. On a route that shows
        what leaves together, an erasure is never sent together with reports or with another
        erasure: an observer of the connection could infer that they come from one person."""
        now = self._clock.now()
        due = self._erasures.due(now, routes_open(self._route_name))
        others = [one.key_index for one in due if one != chosen]
        if others:
            moments = spread_again(len(others), now, self._rng.random)
            self._erasures.postpone(zip(others, moments, strict=True))

    def prepare(
        self, asked: JournaledErasure, catalogs: Mapping[int, Catalog], result: PassResult
    ) -> tuple[Item, Catalog] | None:
        """Return the erasure as an item, and the catalog of its report. None if that is not
        possible; then it is given up."""
        try:
            item = split(self._current(asked))
            catalog = catalogs.get(catalog_number(decode_erasure(item.payload).catalog))
        except (LocalError, RefusedError):
            catalog = None
        if catalog is None:
            self._erasures.mark(asked.key_index, STRUCK)
            result.struck[_UNMADE] += 1
            return None
        return item, catalog

    def leave(self, asked: JournaledErasure, *, counted: bool) -> bool:
        """Return whether an erasure may leave now, and count the attempt unless it is `counted`
        already."""
        if not self.allowed():
            return False
        return self._erasures.attempt(asked.key_index, counted=not counted)

    def mark(self, asked: JournaledErasure, outcome: Outcome, result: PassResult) -> None:
        """Store the outcome of an erasure."""
        if outcome.fate is Fate.ACKNOWLEDGED:
            self._erasures.mark(asked.key_index, ACKNOWLEDGED, self._route_name)
            result.erased += 1
        elif outcome.fate is Fate.REFUSED:
            self._erasures.mark(asked.key_index, STRUCK)
            result.struck[outcome.reason] += 1
        elif outcome.fate is Fate.RETRY:
            wait = backoff(asked.attempts, self._rng.random, outcome.again)
            self._erasures.postpone([(asked.key_index, self._clock.now() + wait)])
            result.postponed[outcome.reason] += 1
        elif outcome.fate is Fate.HANDED:
            result.handed += 1

    def _current(self, asked: JournaledErasure) -> bytes:
        """Return the bytes of an erasure, made again if an earlier version made them."""
        try:
            decode_erasure(split(asked.raw).payload)
        except RefusedError:
            report, salt = self._erasures.report_of(asked.key_index)
            return renewed(report, self._erasures.seed_of(asked.key_index), asked.key_index, salt)
        return asked.raw


_UNMADE = "unmade"
