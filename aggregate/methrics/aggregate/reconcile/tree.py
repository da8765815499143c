"""The asking side of a session: what to ask next, given what the peer replied. Pure.

`pull` is a generator. It yields requests and is sent the replies, and it yields the bundles that it
got. It asks for erasures first. Then, for each day whose digest differs, it splits the day's ids by
their next digit as long as counts or fingerprints differ, lists the ids of small parts, and fetches
those that its own set lacks. A day or part of which the peer has far more is fetched whole.

Whatever the peer replies, the work is bounded: the parts of a node must add up to the node, ids
must lie where they were listed, and items must be those that were asked for. Else the session ends
with a reason (PeerFault).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

from methrics.aggregate.reconcile.fingerprint import fingerprint
from methrics.aggregate.reconcile.item_set import ItemSet
from methrics.aggregate.reconcile.wire import (
    DEPTH_MAX,
    FETCH_MAX,
    NODES_MAX,
    All,
    DaySum,
    Fetch,
    Ids,
    Node,
    Opened,
    Part,
    PeerFault,
    Request,
    Split,
    Which,
    read_ids,
    read_items,
    read_parts,
)
from methrics.schema.errors import RefusedError
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.envelope import Item, Kind, split
from methrics.schema.wire.items import decode_erasure, decode_report
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.shard import WHOLE, Shard

LEAF = 16
"""Ids of a part that is listed and not split: to list them takes at most 512 bytes, to split them
further 192 and more for each level."""

LISTED_AT_ONCE = 2048
"""Ids that are listed with one request: 64 KiB."""

WHOLE_MAX = 262_144
"""Ids of a node that is fetched whole; a larger one is split. The ids that came are remembered."""

PENDING_MAX = 65_536
"""Most nodes that wait to be split. Honest sets need some 8,000, however much they differ."""

_KINDS = {Which.ERASURES: Kind.ERASURE, Which.REPORTS: Kind.REPORT}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to send; its reply is sent to the generator."""

    request: Request


@dataclass(frozen=True, slots=True)
class Take:
    """Bundles that were asked for: reports or erasures. They are to be judged like any others."""

    which: Which
    bundles: tuple[bytes, ...]
    items: int


Step = Ask | Take
Steps = Generator[Step, bytes, None]


@dataclass(frozen=True, slots=True)
class Claim:
    """What the peer says about a node. The fingerprint of a whole day is not known."""

    node: Node
    count: int
    fingerprint: int | None


@dataclass(slots=True)
class Pull:
    """One session of the asking side.

    `own`: the own set as of the session's beginning. `passes(which, day)` tells whether a day is
    left out, though it differs. `most_items`: items to fetch at most; a later session continues.
    `shard`: what the session is about; no other items may come.
    """

    own: ItemSet
    opened: Opened
    salt: bytes
    passes: Callable[[Which, DaySum, DaySum | None], bool] = lambda *_: False
    most_items: int = 5_000_000
    shard: Shard = WHOLE
    differing: list[tuple[Which, DaySum, DaySum | None]] = field(default_factory=list, init=False)
    """The days that were compared: what the peer and this side say about them."""
    fetched: int = field(default=0, init=False)
    """Items that the peer delivered."""

    def steps(self) -> Steps:
        """Yield what to ask and what was got. Raises PeerFault or SessionEnded."""
        for which in Which:
            own = {one.day: one for one in self.own.days(which)}
            small: list[Claim] = []
            for theirs in reversed(self.opened.days(which)):
                mine = own.get(theirs.day)
                if mine == theirs:
                    continue
                if self.passes(which, theirs, mine):
                    continue
                self.differing.append((which, theirs, mine))
                claim = Claim(Node(theirs.day, ""), theirs.count, None)
                if self._far_more(claim, mine.count if mine else 0):
                    yield from self._whole(which, claim)
                else:
                    small.append(claim)
            yield from self._compare(which, small)

    @property
    def done(self) -> bool:
        """Whether the session has fetched as many items as it may."""
        return self.fetched >= self.most_items

    def _far_more(self, claim: Claim, own: int) -> bool:
        return LEAF < claim.count <= WHOLE_MAX and claim.count > 2 * own

    def _compare(self, which: Which, claims: list[Claim]) -> Steps:
        """Split what differs, depth first, so that few nodes wait."""
        pending = claims
        while pending and not self.done:
            batch = pending[-NODES_MAX:]
            del pending[-NODES_MAX:]
            leaves = [one for one in batch if one.count <= LEAF]
            inner = [one for one in batch if one.count > LEAF]
            if inner:
                leaves += yield from self._split(which, inner, pending)
            for group in _groups(leaves):
                yield from self._list(which, group)

    def _split(
        self, which: Which, claims: Sequence[Claim], pending: list[Claim]
    ) -> Generator[Step, bytes, list[Claim]]:
        """Compare the parts of nodes; add those to split to `pending`, return those to list."""
        if any(len(one.node.prefix) >= DEPTH_MAX for one in claims):
            raise PeerFault("wrong-counts")
        nodes = tuple(one.node for one in claims)
        reply = yield Ask(Split(self.opened.session, self.salt, which, nodes))
        leaves: list[Claim] = []
        for claim, theirs in zip(claims, read_parts(reply, len(claims)), strict=True):
            check_parts(claim, theirs)
            mine = self.own.index(which, claim.node.day).parts(claim.node.prefix, self.salt)
            for i, (part, own) in enumerate(zip(theirs, mine, strict=True)):
                if part == own or not part.count:
                    continue
                child = Claim(claim.node.child(i), part.count, part.fingerprint)
                if self._far_more(child, own.count):
                    yield from self._whole(which, child)
                elif part.count <= LEAF:
                    leaves.append(child)
                else:
                    pending.append(child)
        if len(pending) > PENDING_MAX:
            raise PeerFault("too-many-nodes")
        return leaves

    def _list(self, which: Which, claims: Sequence[Claim]) -> Steps:
        """List the ids of small nodes, and fetch those that are lacking."""
        nodes = tuple(one.node for one in claims)
        reply = yield Ask(Ids(self.opened.session, which, nodes))
        lacking: list[tuple[int, bytes]] = []
        for claim, ids in zip(claims, read_ids(reply, len(claims)), strict=True):
            check_ids(claim, ids, self.salt)
            own = self.own.index(which, claim.node.day)
            lacking += [(claim.node.day, one) for one in own.lacks(ids)]
        for at in range(0, len(lacking), FETCH_MAX):
            yield from self._fetch(which, lacking[at : at + FETCH_MAX])

    def _fetch(self, which: Which, wanted: Sequence[tuple[int, bytes]]) -> Steps:
        days: dict[int, list[bytes]] = {}
        for day, one in wanted:
            days.setdefault(day, []).append(one)
        by_day = tuple((day, tuple(ids)) for day, ids in days.items())
        reply = yield Ask(Fetch(self.opened.session, which, by_day))
        bundles = read_items(reply).bundles
        due = {one: day for day, one in wanted}
        count = 0
        for item, day in _items_of(which, bundles, self.shard):
            if due.pop(item.id, -1) != day:
                raise PeerFault("not-asked")
            count += 1
        if due:
            raise PeerFault("withheld")
        yield from self._got(which, bundles, count)

    def _whole(self, which: Which, claim: Claim) -> Steps:
        """Fetch all items of a node, page by page."""
        left, cursor = claim.count, 0
        came: set[bytes] = set()
        while left and not self.done:
            reply = yield Ask(All(self.opened.session, which, claim.node, cursor))
            page = read_items(reply)
            count = 0
            for item, day in _items_of(which, page.bundles, self.shard):
                if day != claim.node.day or not item.id.hex().startswith(claim.node.prefix):
                    raise PeerFault("not-asked")
                came.add(item.id)
                count += 1
            if len(came) != claim.count - left + count:
                raise PeerFault("repeated")
            left -= count
            if left < 0 or not count or bool(left) != bool(page.cursor):
                raise PeerFault("wrong-counts")
            cursor = page.cursor
            yield from self._got(which, page.bundles, count)

    def _got(self, which: Which, bundles: tuple[bytes, ...], count: int) -> Steps:
        self.fetched += count
        yield Take(which, bundles, count)


def check_parts(claim: Claim, parts: Sequence[Part]) -> None:
    """Raise PeerFault unless parts make up their node, as the peer's set does not change."""
    joined = 0
    for part in parts:
        joined ^= part.fingerprint
    if sum(part.count for part in parts) != claim.count:
        raise PeerFault("wrong-counts")
    if claim.fingerprint is not None and joined != claim.fingerprint:
        raise PeerFault("wrong-counts")


def check_ids(claim: Claim, ids: Sequence[bytes], salt: bytes) -> None:
    """Raise PeerFault unless the listed ids are those that the peer has claimed of a node."""
    if not all(one.hex().startswith(claim.node.prefix) for one in ids):
        raise PeerFault("not-in-range")
    if len(ids) != claim.count:
        raise PeerFault("wrong-counts")
    if claim.fingerprint is not None and fingerprint(ids, salt) != claim.fingerprint:
        raise PeerFault("wrong-counts")


def _groups(claims: Sequence[Claim]) -> Iterator[list[Claim]]:
    """Cut a list of small nodes into requests."""
    group: list[Claim] = []
    size = 0
    for claim in claims:
        if group and (size + claim.count > LISTED_AT_ONCE or len(group) >= NODES_MAX):
            yield group
            group, size = [], 0
        group.append(claim)
        size += claim.count
    if group:
        yield group


def _items_of(which: Which, bundles: Sequence[bytes], shard: Shard) -> Iterator[tuple[Item, int]]:
    """Yield the items of bundles with their days; their signatures are not checked yet."""
    for bundle in bundles:
        try:
            about, raws = unpack(bundle)
            for raw in raws:
                item = split(raw)
                if not about or item.kind is not _KINDS[which]:
                    raise PeerFault("not-asked")
                if which is Which.REPORTS:
                    place, day = item.id, decode_report(item.payload).time // DAY
                else:
                    erasure = decode_erasure(item.payload)
                    place, day = erasure.report_id(item.key), erasure.day
                if not shard.has(place):
                    raise PeerFault("not-in-range")
                yield item, day
        except RefusedError:
            raise PeerFault("malformed-item") from None
