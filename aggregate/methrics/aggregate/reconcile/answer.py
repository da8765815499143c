"""The answering side: sessions over sets that do not change, and the replies to requests.

It has no clock and no network: `now` (seconds that never go back) is passed in, and `open_set`
returns a set that is closed by calling the function that comes with it. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from methrics.aggregate.reconcile.item_set import ItemSet, Stored, set_digest
from methrics.aggregate.reconcile.wire import (
    DEPTH_MAX,
    LISTED_MAX,
    PAGE_BYTES,
    SESSION_SIZE,
    All,
    Fetch,
    Ids,
    Items,
    Node,
    Open,
    Opened,
    Request,
    Split,
    Which,
    encode_busy,
    encode_ids,
    encode_items,
    encode_opened,
    encode_parts,
    encode_same,
    encode_shard,
)
from methrics.node.clock import Entropy
from methrics.node.shares import Shares
from methrics.schema.errors import RefusedError
from methrics.schema.wire.bundle import Packer
from methrics.schema.wire.shard import WHOLE, Shard
from methrics.schema.wire.verdict import Reason

SESSIONS_MAX = 8
"""Most sessions at once. Each keeps a snapshot of the file, and the ids of a few days. A peer has
one, and a network of strangers one."""

SESSIONS_LISTED = 2
"""How many of them only peers get that the operator named."""

IDLE_MAX = 60.0
"""Seconds after which a session without a request ends."""

LIFE_MAX = 900.0
"""Seconds after which a session ends in any case, so that the file can be rewritten."""

AS_OF_SLACK = 1
"""Days by which two aggregators' clocks may differ."""

BUSY = 30
"""Seconds after which a peer may ask again when there are too many sessions."""


class OpenedSet(NamedTuple):
    """A set, the id of the namespace's newest record (or empty), and what closes the set.

    `unwanted()` tells whether the set should be closed soon, because the file is to be rewritten
    and waits for its readers.
    """

    items: ItemSet
    record: bytes
    close: Callable[[], None]
    unwanted: Callable[[], bool] = lambda: False


class SetBusy(Exception):  # noqa: N818 - it passes soon
    """No set is opened now, because the file is to be rewritten."""


OpenSet = Callable[[bytes, int, Shard], OpenedSet | None]
"""`open_set(key, as_of, shard)` returns the set of a namespace key and of those ids, or None if it
is not collected. Raises SetBusy and StoreError."""


class Asker(NamedTuple):
    """Who asks: a peer, the token of its network, and whether the operator named it."""

    peer: str
    origin: bytes = b""
    listed: bool = False


@dataclass(slots=True)
class _Session:
    peer: str
    opened: OpenedSet
    begun: float
    used: float


class Answerer:
    """Answers requests. `today()` returns the day (since 1970-01-01) by this machine's clock.
    `shard`: the ids that this side has."""

    def __init__(
        self,
        open_set: OpenSet,
        today: Callable[[], int],
        entropy: Entropy,
        shard: Shard = WHOLE,
    ) -> None:
        self._open_set = open_set
        self._shard = shard
        self._today = today
        self._entropy = entropy
        self._sessions: dict[bytes, _Session] = {}
        self._room: Shares[str] = Shares(
            SESSIONS_MAX, per_holder=1, reserve=SESSIONS_LISTED, per_listed=1, evicts=False
        )

    def __len__(self) -> int:
        return len(self._sessions)

    def answer(self, asker: Asker, request: Request, now: float) -> tuple[bytes, int]:
        """Return the reply to a request of `asker`, and the number of rows read for it.

        Raises RefusedError for a request that no reply is due to.
        """
        self.expire(now)
        if isinstance(request, Open):
            return self._open(asker, request, now)
        session = self._sessions.get(request.session)
        if session is None or session.peer != asker.peer:
            return encode_busy(0), 0
        session.used = now
        items = session.opened.items
        before = items.scanned
        reply = _reply(items, request)
        return reply, items.scanned - before

    def expire(self, now: float) -> None:
        """End the sessions that are idle or too old, and those whose sets are unwanted."""
        for name, one in list(self._sessions.items()):
            old = now - one.used >= IDLE_MAX or now - one.begun >= LIFE_MAX
            if old or one.opened.unwanted():
                self._end(name)

    def close(self) -> None:
        """End all sessions."""
        for name in list(self._sessions):
            self._end(name)

    def _end(self, name: bytes) -> None:
        session = self._sessions.pop(name)
        self._room.give(session.peer)
        session.opened.close()

    def _open(self, asker: Asker, request: Open, now: float) -> tuple[bytes, int]:
        for name in [name for name, one in self._sessions.items() if one.peer == asker.peer]:
            self._end(name)
        if abs(request.as_of - self._today()) > AS_OF_SLACK:
            raise RefusedError(Reason.EARLY, "the clocks differ by more than a day")
        if not self._shard.covers(request.shard):
            return encode_shard(self._shard), 0
        origin = asker.origin or asker.peer.encode()
        if not self._room.take(asker.peer, origin, now, listed=asker.listed).granted:
            return encode_busy(BUSY), 0
        kept, opened = False, None
        try:
            opened = self._open_set(request.key, request.as_of, request.shard)
            if opened is None:
                raise RefusedError(Reason.FOREIGN, "a namespace that is not collected")
            days = {which: tuple(opened.items.days(which)) for which in Which}
            digests = [set_digest(request.key, which, days[which]) for which in Which]
            same_sets = digests == [request.erasures, request.reports]
            if same_sets and opened.record == request.record:
                return encode_same(), opened.items.scanned
            name = self._entropy(SESSION_SIZE)
            found = Opened(name, opened.record, days[Which.ERASURES], days[Which.REPORTS])
            reply = encode_opened(found)
            self._sessions[name] = _Session(asker.peer, opened, now, now)
            kept = True
            return reply, opened.items.scanned
        except SetBusy:
            return encode_busy(BUSY), 0
        finally:
            if not kept:
                self._room.give(asker.peer)
                if opened is not None:
                    opened.close()


def _reply(items: ItemSet, request: Split | Ids | Fetch | All) -> bytes:
    which = request.which
    if isinstance(request, Split):
        if any(len(node.prefix) >= DEPTH_MAX for node in request.nodes):
            raise RefusedError(Reason.MALFORMED, "an id has no parts")
        return encode_parts(
            items.index(which, day).parts(prefix, request.salt) for day, prefix in request.nodes
        )
    if isinstance(request, Ids):
        return encode_ids(_listed(items, which, request.nodes))
    if isinstance(request, Fetch):
        found = items.items(which, dict(request.wanted))
        return encode_items(Items(tuple(bundles_of(found))))
    found, cursor = items.page(which, request.node, request.cursor, PAGE_BYTES)
    return encode_items(Items(tuple(bundles_of(found)), cursor))


def _listed(items: ItemSet, which: Which, nodes: Iterable[Node]) -> list[list[bytes]]:
    found, total = [], 0
    for day, prefix in nodes:
        index = items.index(which, day)
        total += index.count(prefix)
        if total > LISTED_MAX:
            raise RefusedError(Reason.OVERSIZE, f"more than {LISTED_MAX} ids at once")
        found.append(index.ids(prefix))
    return found


def bundles_of(found: Iterable[Stored]) -> list[bytes]:
    """Pack items into bundles of one catalog each."""
    packers: dict[bytes, Packer] = {}
    bundles = []
    for catalog, raw in found:
        packer = packers.get(catalog)
        if packer is None:
            packer = packers[catalog] = Packer(catalog)
        if packer.add(raw):
            bundles.append(packer.take())
    return bundles + [packer.take() for packer in packers.values() if len(packer)]
