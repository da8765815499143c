"""Closes days, asks trusted peers for their manifests, and tidies contested reports."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from methrics.aggregate.closing.closer import Closer
from methrics.aggregate.closing.coverage import Coverage, coverage_of
from methrics.aggregate.closing.door import Door
from methrics.aggregate.closing.exchange import (
    PAGE_MAX,
    ask_manifests,
    newest_of,
)
from methrics.aggregate.closing.manifests import Kept, keep_manifests
from methrics.aggregate.closing.over import Steadiness
from methrics.aggregate.closing.serving import ManifestServing
from methrics.aggregate.closing.trust import voter_of
from methrics.aggregate.store.set_aside import DAMAGED
from methrics.node.clock import Rng
from methrics.node.network.swarm import PeerId, Swarm
from methrics.schema.errors import RefusedError, StoreError, UnreachableError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict
from methrics.schema.judging.judge import Accepted
from methrics.schema.wire.verdict import Decision, Reason

EVERY = 600.0
"""Seconds between two looks, on average: days are over once a day, and this costs a query."""

FIRST = 30.0
"""Seconds after the start until the first look, for the peers to connect."""

PAGES_MAX = 64
"""Most pages of one peer and namespace in one look: more manifests than days are kept."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The event that something about closed days has changed: what happened in one look, and how
    things are now."""

    signed: int = 0
    """Manifests of closed days that this aggregator has signed."""
    taken: int = 0
    """Manifests of trusted peers that are new."""
    contradictions: int = 0
    """Those that prove that their signer has said two things."""
    contested: int = 0
    """Contested reports in the file."""
    dropped: int = 0
    """Contested reports that found no room, since the start."""
    unanswered: Mapping[str, int] = field(default_factory=dict[str, int])
    """Requests of peers for manifests that got no reply, since the start, by reason."""
    coverage: tuple[Coverage, ...] = ()
    """Of this aggregator and of the peers whose manifests it has."""


class ClosingService:
    """The tasks around closed days of one aggregator.

    `seed` is that of its peer key; None signs nothing and answers nobody. `take` stores what the
    door lets in later. While the clock is not believed (`believes`), nothing is signed or dropped.
    """

    def __init__(
        self,
        swarm: Swarm,
        door: Door,
        book: CatalogBook,
        topics: Collection[str],
        seed: bytes | None,
        rng: Rng,
        take: Callable[[BundleVerdict], Awaitable[object]],
        believes: Callable[[], bool] = lambda: True,
    ) -> None:
        self._swarm = swarm
        self._store = door.store
        self._door = door
        self._book = book
        self._topics = topics
        self._closer = None if seed is None else Closer(door.store, seed)
        self._serving = (
            None
            if self._closer is None
            else ManifestServing(swarm, door.store, self._closer.signer, topics)
        )
        self._clock = door.clock
        self._rng = rng
        self._take = take
        self._believes = believes
        self._steady = Steadiness()

    async def run(self, notify: Callable[[Closed], None]) -> None:
        """Look at intervals until cancelled. What cannot be stored now is tried again: commits say
        why. Raises StoreError if the file is damaged."""
        if self._serving is not None:
            self._serving.serve()
        self._steady.note(self._clock.now(), trio.current_time())
        await trio.sleep(FIRST)
        before = Closed()
        while True:
            try:
                found = await self.look()
            except StoreError as error:
                if error.code == DAMAGED:
                    raise
            else:
                if found != before:
                    notify(found)
                before = replace(found, signed=0, taken=0, contradictions=0)
            await trio.sleep(EVERY * (0.75 + self._rng() / 2))

    async def look(self) -> Closed:
        """Do all of it once. Raises StoreError."""
        now, monotonic = self._clock.now(), trio.current_time()
        self._steady.note(now, monotonic)
        believed = self._believes()
        sure = believed and self._steady.may_close(monotonic, self._door.skew())
        again: list[Accepted] = []
        if believed:
            tidy = partial(self._door.tidy, self._book, sure=sure)
            again = await trio.to_thread.run_sync(tidy)
        if again:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._take(BundleVerdict(Decision.ACCEPT, Reason.OK, again))
        signed = 0
        if self._closer is not None and sure:
            signed = len(await trio.to_thread.run_sync(self._closer.close, now))
        taken = contradictions = 0
        for peer in self._trusted():
            for namespace in sorted({entry.key for entry in self._store.catalogs()}):
                kept = await self._ask(peer, namespace)
                taken, contradictions = taken + kept.new, contradictions + kept.contradictions
        return await trio.to_thread.run_sync(self._state, Closed(signed, taken, contradictions))

    def _state(self, found: Closed) -> Closed:
        contested = sum(count for _, _, count in self._door.contested())
        with self._store.reading() as con:
            coverage = tuple(coverage_of(con))
        return replace(
            found,
            contested=contested,
            dropped=self._door.dropped,
            coverage=coverage,
            unanswered=dict(self._serving.refused) if self._serving else {},
        )

    def _trusted(self) -> list[PeerId]:
        peers = {peer for topic in self._topics for peer in self._swarm.peers(topic)}
        return sorted(peer for peer in peers if voter_of(peer) in self._door.trust.voters)

    async def _ask(self, peer: PeerId, namespace: bytes) -> Kept:
        """Take the new manifests of one trusted peer."""
        signer = voter_of(peer)
        total = Kept(0, 0, 0)
        for _ in range(PAGES_MAX):
            ask = await trio.to_thread.run_sync(newest_of, self._store, signer, namespace)
            try:
                page = await ask_manifests(self._swarm, peer, ask)
            except (UnreachableError, RefusedError):
                break
            kept = await trio.to_thread.run_sync(
                keep_manifests, self._store, page, {signer}, self._clock.now()
            )
            total = Kept(*(one + other for one, other in zip(total, kept, strict=True)))
            if len(page) < PAGE_MAX or not kept.new:
                break
        return total
