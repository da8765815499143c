"""Takes the items that came out of boxes: judges them, and shares the pool among who brought them.

An item is acknowledged after the commit that makes it rest. All answers of a request wait for that
commit, also those of refusals and duplicates: their moment must not tell what a box contained.

An erasure drops the report that it names if that report rests here, and is published itself. The
id of the report is remembered until receivers would refuse the report as late.

Nothing about a submitter is kept but a keyed hash for about a minute, and the bytes that its
network was given (`pool_shares`). No log line is about a submitter.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from methrics.node.clock import Clock
from methrics.node.network.swarm import PeerId
from methrics.node.relay.limiter import Names
from methrics.node.relay.mixer import ITEM_COST, Mixer, draw_rest
from methrics.node.relay.notices import Notice, Notices
from methrics.node.relay.pool_shares import PoolShares, Submitter
from methrics.node.relay.rest_file import Changes, Resting
from methrics.node.relay.rest_store import RestStore
from methrics.node.relay.settings import RelaySettings
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import RefusedError, StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import Accepted, Refused, judge_item
from methrics.schema.wire.envelope import Item, Kind, split
from methrics.schema.wire.items import Announcement, Erasure, Report
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.record import Record
from methrics.schema.wire.signatures import count_valid
from methrics.schema.wire.topic import short_key
from methrics.schema.wire.verdict import Reason

AGAIN_LEAST, AGAIN_MOST = 60.0, 3600.0
"""Seconds after which a full relay tells submitters to come back, at least and at most: room may
come sooner than the shares of a period end, because other relays publish items, too."""


class Opened(NamedTuple):
    """The content of a box (empty if the box does not open) and its verdict. An empty box, which
    only hides whether an app has reports, is OK."""

    verdict: Accepted | Reason
    raw: bytes = b""

    @property
    def reason(self) -> Reason:
        """The reason of the verdict."""
        return Reason.OK if isinstance(self.verdict, Accepted) else self.verdict


class _Pooled(NamedTuple):
    """An item that rests once its commit succeeds: its place among the answers, when it leaves (on
    trio's clock), what its submitter was given, and the report that it erases."""

    place: int
    resting: Resting
    due: float
    size: int
    until: float
    erases: bytes | None


@dataclass(slots=True)
class _Taken:
    """The answers of one request. Those in `pooled` and `doubtful` depend on commits."""

    answers: list[Reason] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    pooled: list[_Pooled] = field(default_factory=list)
    doubtful: list[tuple[int, bytes]] = field(default_factory=list)
    """Duplicates, and reports that were erased: the place of the answer, and the item's id."""


class Intake:
    """Takes in items for one relay. What it admits goes to `mixer` or to `notices`. `answers`
    counts its answers to items, by reason.

    `learnt(topic, accepted)` is called for each new catalog, record and announcement. `seen(id)`
    tells whether an item was published or passed on.
    """

    def __init__(
        self,
        settings: RelaySettings,
        *,
        book: CatalogBook,
        mixer: Mixer,
        store: RestStore,
        notices: Notices,
        seen: Callable[[bytes], bool],
        clock: Clock,
        rng: random.Random,
        learnt: Callable[[str, Accepted], None],
        answers: Counter[str],
    ) -> None:
        self.stopping = False
        """Whether everything is refused, because the relay is ending."""
        self._settings = settings
        self._book = book
        self._mixer = mixer
        self._store = store
        self._pending: dict[bytes, int] = {}
        """Bytes of items that are not committed yet, by id."""
        self._pending_bytes = 0
        self._erasing: set[bytes] = set()
        """Reports whose erasure is not committed yet."""
        self._notices = notices
        self._seen = seen
        self._clock = clock
        self._rng = rng
        self._learnt = learnt
        self._answers = answers
        self._topics = frozenset(settings.topics)
        self._entries = frozenset(settings.entries)
        self._names = Names(rng.randbytes(32))
        mix = settings.mix
        self._shares = PoolShares(
            mix.bytes_max, period=mix.rest or mix.batch_window, entries=len(settings.entries)
        )

    def submitter(self, peer: PeerId, origin: bytes) -> Submitter:
        """Return how a peer is counted. `origin`: an opaque token of its network."""
        return Submitter(self._names.of(peer), origin, peer in self._entries)

    async def admit(self, opened: Sequence[Opened], who: Submitter) -> list[Reason]:
        """Admit the items that were accepted; return the answers once a commit has ended, even if
        no item was accepted."""
        taken = _Taken()
        for one in opened:
            reason = Reason.QUOTA if self.stopping else self._admit(one, who, taken)
            taken.answers.append(reason)
        answers = await self._commit(taken, who)
        full = zip(opened, answers, strict=True)
        self._answers.update(str(reason) for one, reason in full if one.raw)
        return answers

    async def _commit(self, taken: _Taken, who: Submitter) -> list[Reason]:
        """Wait until what was taken rests, and let it mix; return the answers."""
        kept = False
        try:
            await self._store.commit(taken.changes)
            # Without a disk, nothing that comes after the last bundles would be published.
            kept = self._store.durable or not self.stopping
        except StoreError:
            pass  # the store has said so; the answer is `quota`
        finally:
            for one in taken.pooled:
                self._pending_bytes -= self._pending.pop(one.resting.id, 0)
                self._erasing.discard(one.erases or b"")
        for one in taken.pooled:
            if kept:
                self._mix(one)
            else:
                self._shares.give(who, one.size, one.until)
                taken.answers[one.place] = Reason.QUOTA
        for place, item_id in taken.doubtful:
            taken.answers[place] = self._known(item_id) or Reason.QUOTA  # another commit failed
        return taken.answers

    def _mix(self, one: _Pooled) -> None:
        """Put a committed item into the mix pool, unless it was published or erased meanwhile."""
        resting = one.resting
        if one.erases is not None:
            self._mixer.discard([one.erases])
        if self._seen(resting.id) or self._store.knows_erased(resting.id):
            self._store.later(Changes(drops={resting.id}))
            return
        now = trio.current_time()
        self._mixer.keep(resting, now, rest=max(0.0, one.due - now))

    def _known(self, item_id: bytes) -> Reason | None:
        """Return what is known of an item, if commits that have not ended yet succeed."""
        if item_id in self._erasing or self._store.knows_erased(item_id):
            return Reason.ERASED
        known = item_id in self._mixer or item_id in self._pending or self._seen(item_id)
        return Reason.DUPLICATE if known else None

    def _has_room(self, size: int) -> bool:
        used = self._mixer.bytes_used + self._pending_bytes
        return used + size <= self._settings.mix.bytes_max

    def when_full(self) -> int:
        """Return after how many seconds there may be room, not the same for everybody."""
        now, end = trio.current_time(), self._shares.next_end()
        wait = AGAIN_MOST if end is None else min(max(end - now, AGAIN_LEAST), AGAIN_MOST)
        return int(wait * (1 + self._rng.random() / 4))

    def judged(self, raws: Sequence[bytes], now: int) -> list[Opened]:
        """Judge items that came out of boxes, in a worker thread; an empty box has none. An
        accepted catalog or record is used to judge later items."""
        items = [_split(raw) if raw else Opened(Reason.OK) for raw in raws]
        verified = _verified([one for one in items if isinstance(one, Item)])
        return [self._judged(one, now, verified) if isinstance(one, Item) else one for one in items]

    def _judged(self, item: Item, now: int, verified: Set[bytes]) -> Opened:
        raw = item.raw
        verdict = judge_item(item, self._book, now, verified=raw in verified)
        if isinstance(verdict, Refused):
            return Opened(verdict.reason, raw)
        if self._topic(verdict) not in self._topics:
            return Opened(Reason.FOREIGN, raw)
        return Opened(verdict if learn(verdict, self._book) else Reason.QUOTA, raw)

    def _admit(self, opened: Opened, who: Submitter, taken: _Taken) -> Reason:
        """Note what an accepted item changes, or put it among the notices; return the answer."""
        accepted = opened.verdict
        if isinstance(accepted, Reason):
            return accepted
        item, topic = accepted.item, self._topic(accepted)
        if isinstance(accepted.body, Report | Erasure):
            known = self._known(item.id)
            if known is not None:
                taken.doubtful.append((len(taken.answers), item.id))
                return known
            return self._pool(topic, accepted, accepted.body, who, taken)
        if self._seen(item.id):
            return Reason.DUPLICATE
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

    def _pool(
        self,
        topic: str,
        accepted: Accepted,
        body: Report | Erasure,
        who: Submitter,
        taken: _Taken,
    ) -> Reason:
        item = accepted.item
        now, period = trio.current_time(), self._settings.mix.rest
        wall = self._clock.now()
        window = self._settings.mix.batch_window
        until = now + (2 * period - wall % period if period else 0.0) + window
        size = len(item.raw) + ITEM_COST
        if not (self._has_room(size) and self._shares.take(who, size, until, now)):
            return Reason.QUOTA
        rest = draw_rest(wall, period, self._rng)
        resting = Resting(item.id, topic, body.catalog, item.raw, int(wall + rest))
        erases = body.report_id(item.key) if isinstance(body, Erasure) else None
        if isinstance(body, Erasure) and erases is not None:
            taken.changes.drop([erases])
            if self._store.room_for_erased(heard=False):
                taken.changes.erased[erases] = late_from(body, self._book)
            self._erasing.add(erases)
        taken.changes.put(resting)
        self._pending[item.id] = size
        self._pending_bytes += size
        taken.pooled.append(_Pooled(len(taken.answers), resting, now + rest, size, until, erases))
        return Reason.OK

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


def late_from(erasure: Erasure, book: CatalogBook) -> int:
    """Return from when on (Unix seconds) receivers refuse the erased report as late."""
    catalog = book.get(erasure.catalog)
    lateness = (declared.lateness for declared in catalog.types.values()) if catalog else ()
    return (erasure.day + 1) * DAY + max(lateness, default=0)


def _split(raw: bytes) -> Item | Opened:
    try:
        return split(raw)
    except RefusedError as error:
        return Opened(Reason(error.code), raw)


def _verified(items: Sequence[Item]) -> set[bytes]:
    """Return the bytes of the reports and erasures whose signatures are valid. One call checks many
    of them."""
    left = [one for one in items if one.kind in (Kind.REPORT, Kind.ERASURE)]
    found = set[bytes]()
    while left:
        valid = count_valid(left)
        found.update(one.raw for one in left[:valid])
        left = left[valid + 1 :]  # the next one is not valid
    return found
