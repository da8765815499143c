"""Takes sealed items from submitters: opens and judges them, and shares the pool among them.

Nothing about a submitter is kept but a keyed hash for about a minute, and the bytes that its
network was given (`pool_shares`). No log line is about a submitter.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import trio

from methrics.node.clock import Clock
from methrics.node.network.swarm import PeerId
from methrics.node.process.worker import Worker
from methrics.node.relay.boxes import BoxKey, unseal
from methrics.node.relay.limiter import Limiter
from methrics.node.relay.mixer import ITEM_COST, Mixer, draw_rest
from methrics.node.relay.notices import Notice, Notices
from methrics.node.relay.pool_shares import PoolShares, Submitter
from methrics.node.relay.settings import RelaySettings
from methrics.node.relay.submit import Reply
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import Accepted, Refused, judge
from methrics.schema.wire.items import Announcement, Erasure, Report
from methrics.schema.wire.limits import REPORT_MAX
from methrics.schema.wire.record import Record
from methrics.schema.wire.topic import short_key
from methrics.schema.wire.verdict import Reason

AGAIN_LEAST, AGAIN_MOST = 60.0, 3600.0
"""Seconds after which a full relay tells submitters to come back, at least and at most: room may
come sooner than the shares of a period end, because other relays publish items, too."""


class Opened(NamedTuple):
    """The content of a box (empty if the box does not open) and its verdict."""

    verdict: Accepted | Reason
    raw: bytes = b""

    @property
    def reason(self) -> Reason:
        """The reason of the verdict."""
        return Reason.OK if isinstance(self.verdict, Accepted) else self.verdict


class Intake:
    """Answers submit requests of one relay. What it admits goes to `mixer` or to `notices`.

    `learnt(topic, accepted)` is called for each new catalog, record and announcement. `seen(id)`
    tells whether an item was published or passed on.
    """

    def __init__(
        self,
        settings: RelaySettings,
        *,
        book: CatalogBook,
        key: BoxKey,
        mixer: Mixer,
        notices: Notices,
        seen: Callable[[bytes], bool],
        clock: Clock,
        rng: random.Random,
        worker: Worker,
        learnt: Callable[[str, Accepted], None],
    ) -> None:
        self.stopping = False
        """Whether everything is refused, because the relay is ending."""
        self._settings = settings
        self._book = book
        self._key = key
        self._mixer = mixer
        self._notices = notices
        self._seen = seen
        self._clock = clock
        self._rng = rng
        self._worker = worker
        self._learnt = learnt
        self._topics = frozenset(settings.topics)
        self._entries = frozenset(settings.entries)
        self._limiter = Limiter(
            per_minute=settings.items_per_minute,
            listed_per_minute=settings.entry_items_per_minute,
            key=rng.randbytes(32),
        )
        mix = settings.mix
        self._shares = PoolShares(
            mix.bytes_max, period=mix.rest or mix.batch_window, entries=len(settings.entries)
        )

    def submitter(self, peer: PeerId, origin: bytes) -> Submitter:
        """Return how a peer is counted. `origin`: an opaque token of its network."""
        return Submitter(self._limiter.name(peer), origin, peer in self._entries)

    def again(self, who: Submitter) -> int | None:
        """Return after how many seconds the submitter should come back, or None if the pool has
        room for a report of it."""
        now = trio.current_time()
        size, until = REPORT_MAX + ITEM_COST, now
        room = self._mixer.bytes_used + size <= self._settings.mix.bytes_max
        if room and self._shares.take(who, size, until, now):
            self._shares.give(who, size, until)
            return None
        return self._when_full(now)

    async def take(self, who: Submitter, boxes: Sequence[bytes]) -> tuple[Reply, list[Opened]]:
        """Open and judge the boxes, and admit their items. Return the reply, and what was
        opened."""
        now = trio.current_time()
        allowed = self._limiter.take(who.name, len(boxes), now, listed=who.listed)
        count = 0 if self.stopping else allowed.items
        opened = await self._worker(partial(self._open_all, boxes[:count], self._clock.now()))
        if self.stopping:  # perhaps meanwhile; the last bundles may have been published
            return Reply((Reason.QUOTA,) * len(boxes), int(AGAIN_LEAST)), []
        answers = [self._admit(one, who) for one in opened]
        waits = [allowed.again] if count < len(boxes) else []
        if Reason.QUOTA in answers:
            waits.append(self._when_full(trio.current_time()))
        answers += [Reason.QUOTA] * (len(boxes) - count)
        return Reply(tuple(answers), max(waits, default=None)), opened

    def _when_full(self, now: float) -> int:
        """Return after how many seconds there may be room, not the same for everybody."""
        end = self._shares.next_end()
        wait = AGAIN_MOST if end is None else min(max(end - now, AGAIN_LEAST), AGAIN_MOST)
        return int(wait * (1 + self._rng.random() / 4))

    def _open_all(self, boxes: Sequence[bytes], now: int) -> list[Opened]:
        """Open each box and judge its item, in a worker thread. An accepted catalog or record is
        used to judge the items in later boxes."""
        return [self._open(box, now) for box in boxes]

    def _open(self, box: bytes, now: int) -> Opened:
        try:
            raw = unseal(box, self._key)
        except RefusedError as error:
            return Opened(Reason(error.code))
        verdict = judge(raw, self._book, now)
        if isinstance(verdict, Refused):
            return Opened(verdict.reason, raw)
        if self._topic(verdict) not in self._topics:
            return Opened(Reason.FOREIGN, raw)
        return Opened(verdict if learn(verdict, self._book) else Reason.QUOTA, raw)

    def _admit(self, opened: Opened, who: Submitter) -> Reason:
        """Put an accepted item into the pool or among the notices; return the answer."""
        accepted = opened.verdict
        if isinstance(accepted, Reason):
            return accepted
        item, topic = accepted.item, self._topic(accepted)
        if self._seen(item.id):
            return Reason.DUPLICATE
        if isinstance(accepted.body, Report | Erasure):
            return self._pool(topic, accepted.body.catalog, item.id, item.raw, who)
        # The app's developer signs these items. They are not about a person, so they need not
        # rest, and receivers need a record and a catalog before the reports that need them.
        notice = Notice(topic, item)
        if notice.key in self._notices:
            return Reason.DUPLICATE
        self._learnt(topic, accepted)  # the book has it, even if it is not published
        return Reason.OK if self._add(notice, accepted) else Reason.QUOTA

    def _add(self, notice: Notice, accepted: Accepted) -> bool:
        body = accepted.body
        if isinstance(body, Record):
            return self._notices.add(notice, time=body.time)
        if isinstance(body, Announcement):
            until = trio.current_time() + body.expires - self._clock.now()
            return self._notices.add(notice, time=body.time, until=until)
        return self._notices.add(notice)

    def _pool(self, topic: str, about: bytes, item_id: bytes, raw: bytes, who: Submitter) -> Reason:
        if item_id in self._mixer:
            return Reason.DUPLICATE
        now, period = trio.current_time(), self._settings.mix.rest
        wall = self._clock.now()
        window = self._settings.mix.batch_window
        until = now + (2 * period - wall % period if period else 0.0) + window
        size = len(raw) + ITEM_COST
        if not self._shares.take(who, size, until, now):
            return Reason.QUOTA
        rest = draw_rest(wall, period, self._rng)
        reason = self._mixer.add(topic, about, item_id, raw, now, rest=rest)
        if reason is not Reason.OK:
            self._shares.give(who, size, until)
        return reason

    def _topic(self, accepted: Accepted) -> str:
        """Return the topic of an item; "" if the topic is not known here."""
        body = accepted.body
        if isinstance(body, Catalog):
            return self._book.topic_of(body)
        if isinstance(body, Report | Erasure):
            catalog = self._book.get(body.catalog)
            return self._book.topic_of(catalog) if catalog else ""
        mark = f"-{short_key(accepted.item.key)}/"
        return next((topic for topic in sorted(self._topics) if mark in topic), "")
