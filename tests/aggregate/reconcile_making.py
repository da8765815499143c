"""Sets in memory, and sessions between them without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

import aggregate_making as making

from methrics.aggregate.reconcile.answer import Answerer, Asker, OpenedSet
from methrics.aggregate.reconcile.fingerprint import IdIndex
from methrics.aggregate.reconcile.item_set import Stored, set_digest
from methrics.aggregate.reconcile.tree import Ask, Pull, Take
from methrics.aggregate.reconcile.wire import (
    DaySum,
    Node,
    Open,
    Which,
    decode_request,
    encode_request,
    read_opened,
)
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.items import decode_erasure, decode_report
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.manifest import erasures_digest, reports_digest

CATALOG = making.catalog()
KEY = CATALOG.key
TODAY = making.NOW // DAY


class MemorySet:
    """The items of one namespace in dictionaries: an `ItemSet`."""

    def __init__(self, raws: Iterable[bytes] = ()) -> None:
        self.scanned = 0
        self._items: dict[Which, dict[int, dict[bytes, Stored]]] = {one: {} for one in Which}
        self._indexes: dict[tuple[Which, int], IdIndex] = {}
        for raw in raws:
            self.add(raw)

    def add(self, raw: bytes) -> None:
        """Put an item into the set."""
        item = split(raw)
        if item.kind is Kind.REPORT:
            report = decode_report(item.payload)
            which, catalog, day = Which.REPORTS, report.catalog, report.time // DAY
        else:
            erasure = decode_erasure(item.payload)
            which, catalog, day = Which.ERASURES, erasure.catalog, erasure.day
        self._items[which].setdefault(day, {})[item.id] = Stored(catalog, raw)
        self._indexes.pop((which, day), None)

    def raws(self) -> set[bytes]:
        """The bytes of all items."""
        days = (day for of in self._items.values() for day in of.values())
        return {one.raw for day in days for one in day.values()}

    def days(self, which: Which) -> list[DaySum]:
        found = []
        for day in sorted(self._items[which]):
            digest = reports_digest if which is Which.REPORTS else erasures_digest
            found.append(DaySum(day, *digest(KEY, day, [self.index(which, day).data])))
        return found

    def index(self, which: Which, day: int) -> IdIndex:
        found = self._indexes.get((which, day))
        if found is None:
            found = IdIndex(b"".join(self._items[which].get(day, {})))
            self._indexes[which, day] = found
            self.scanned += len(found)
        return found

    def items(self, which: Which, wanted: Mapping[int, Iterable[bytes]]) -> list[Stored]:
        own = self._items[which]
        return [
            own[day][one] for day, ids in wanted.items() for one in ids if one in own.get(day, {})
        ]

    def page(
        self, which: Which, node: Node, cursor: int, most_bytes: int
    ) -> tuple[list[Stored], int]:
        own = [
            stored
            for one, stored in self._items[which].get(node.day, {}).items()
            if one.hex().startswith(node.prefix)
        ]
        page, size = [], 0
        while cursor < len(own) and size < most_bytes:
            page.append(own[cursor])
            size += len(own[cursor].raw)
            cursor += 1
        return page, cursor if cursor < len(own) else 0


def answerer(items: MemorySet, seed: int = 1) -> Answerer:
    """The answering side over one set."""
    opened = OpenedSet(items, b"", lambda: None)
    return Answerer(
        lambda key, *_: opened if key == KEY else None, lambda: TODAY, Random(seed).randbytes
    )


Peer = Callable[[bytes], bytes]
"""Returns the reply to a request."""


@dataclass
class Outcome:
    """What a session fetched and cost."""

    taken: list[bytes] = field(default_factory=list)
    bytes: int = 0
    """Bytes of requests and replies."""
    requests: int = 0
    same: bool = False


def ask_of(items: MemorySet) -> Peer:
    """A peer with this set, which is asked with bytes."""
    other = answerer(items)
    return lambda body: other.answer(Asker("peer"), decode_request(body), 0.0)[0]


def pull(own: MemorySet, ask: Peer, most_items: int = 1_000_000) -> Outcome:
    """Run one session of the asking side. Raises PeerFault or SessionEnded."""
    outcome = Outcome()

    def send(body: bytes) -> bytes:
        reply = ask(body)
        outcome.requests += 1
        outcome.bytes += len(body) + len(reply)
        return reply

    sums = [set_digest(KEY, which, own.days(which)) for which in Which]
    opened = read_opened(send(encode_request(Open(KEY, TODAY, b"", *sums))))
    if opened is None:
        outcome.same = True
        return outcome
    steps = Pull(own, opened, b"0123456789abcdef", most_items=most_items).steps()
    reply: bytes | None = None
    while True:
        try:
            step = next(steps) if reply is None else steps.send(reply)
        except StopIteration:
            return outcome
        reply = None
        if isinstance(step, Ask):
            reply = send(encode_request(step.request))
        else:
            outcome.taken += raws_of(step)


def raws_of(take: Take) -> Iterator[bytes]:
    """The items of the bundles of a step."""
    for bundle in take.bundles:
        yield from unpack(bundle).items


def reports(count: int, days: int = 1, first: int = 0) -> list[bytes]:
    """Signed reports on some days before today."""
    base = (TODAY - 2) * DAY
    return [
        making.beat(CATALOG, i, base - (i % days) * DAY + (i % 100) * 600)
        for i in range(first, first + count)
    ]


def erasures(raws: Iterable[bytes], first: int = 0) -> list[bytes]:
    """The erasures of reports that `reports` made, with their numbers from `first` on."""
    found = []
    for i, raw in enumerate(raws, first):
        time = decode_report(split(raw).payload).time
        found.append(making.erasure(CATALOG, raw, "beat", i, time))
    return found
