"""Sends the erasures of one outbox, each alone, and stores what became of it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Mapping

from methrics.node.clock import Clock
from methrics.node.outbox.erasures import Erasures, JournaledErasure
from methrics.node.outbox.rows import ACKNOWLEDGED, STRUCK
from methrics.node.process.worker import Worker
from methrics.node.publish.leaving import Leave
from methrics.node.publish.permission import AskConsent
from methrics.node.publish.retries import backoff
from methrics.node.publish.routes import HELD, Fate, Outcome
from methrics.node.report.erasure import renewed, routes_open
from methrics.node.report.pacing import spread_again
from methrics.node.spool.records import catalog_number
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import LocalError, RefusedError
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import decode_erasure

Items = tuple[tuple[bytes, bytes], ...]
"""Pairs of (id, exact bytes)."""

Deliver = Callable[[Catalog, Items, Leave], Awaitable[dict[bytes, Outcome]]]

_UNMADE = Outcome(Fate.REFUSED, "unmade")


class ErasureDelivery:
    """Chooses and sends erasures. Methods without `async` block, for a worker."""

    def __init__(
        self,
        erasures: Erasures,
        consent: AskConsent,
        route_name: str,
        *,
        clock: Clock,
        rng: random.Random,
        worker: Worker,
    ) -> None:
        self._erasures = erasures
        self._consent = consent
        self._route_name = route_name
        self._clock = clock
        self._rng = rng
        self._worker = worker

    def next(self) -> JournaledErasure | None:
        """Return one due erasure, drawn at random, and postpone the other due erasures."""
        if not self._consent().erasing:
            return None
        due = self._erasures.due(self._clock.now(), routes_open(self._route_name))
        if not due:
            return None
        chosen = self._rng.choice(due)
        self.set_apart(chosen)
        return chosen

    def set_apart(self, chosen: JournaledErasure | None) -> None:
        """Postpone all due erasures except `chosen` to newly drawn times. An erasure is never sent
        together with reports or with another erasure, because an observer of the connection could
        infer that they come from one person."""
        now = self._clock.now()
        due = self._erasures.due(now, routes_open(self._route_name))
        others = [one.key_index for one in due if one != chosen]
        if others:
            moments = spread_again(len(others), now, self._rng.random)
            self._erasures.postpone(zip(others, moments, strict=True))

    async def send(
        self, asked: JournaledErasure, catalogs: Mapping[int, Catalog], deliver: Deliver
    ) -> Outcome:
        """Deliver one erasure and store its outcome, which is returned."""
        try:
            raw = await self._worker(lambda: self._current(asked))
            item = split(raw)
            catalog = catalogs.get(catalog_number(decode_erasure(item.payload).catalog))
        except (LocalError, RefusedError):
            catalog = None
        if catalog is None:
            await self._worker(lambda: self._erasures.mark(asked.key_index, STRUCK))
            return _UNMADE
        counted: set[bytes] = set()

        def may_leave(ids: Collection[bytes]) -> Collection[bytes]:
            if not self._consent().erasing:
                return ()
            counting = not counted
            counted.update(ids)
            return ids if self._erasures.attempt(asked.key_index, counted=counting) else ()

        async def leave(ids: Collection[bytes]) -> Collection[bytes]:
            return await self._worker(lambda: may_leave(ids))

        outcomes = await deliver(catalog, ((item.id, raw),), leave)
        outcome = outcomes.get(item.id, HELD)
        await self._worker(lambda: self._mark(asked, outcome))
        return outcome

    def _current(self, asked: JournaledErasure) -> bytes:
        """Return the bytes of an erasure, made again if an earlier version made them."""
        try:
            decode_erasure(split(asked.raw).payload)
        except RefusedError:
            report, salt = self._erasures.report_of(asked.key_index)
            return renewed(report, self._erasures.seed_of(asked.key_index), asked.key_index, salt)
        return asked.raw

    def _mark(self, asked: JournaledErasure, outcome: Outcome) -> None:
        if outcome.fate is Fate.ACKNOWLEDGED:
            self._erasures.mark(asked.key_index, ACKNOWLEDGED, self._route_name)
        elif outcome.fate is Fate.REFUSED:
            self._erasures.mark(asked.key_index, STRUCK)
        elif outcome.fate is Fate.RETRY:
            wait = backoff(asked.attempts, self._rng.random, outcome.again)
            self._erasures.postpone([(asked.key_index, self._clock.now() + wait)])
