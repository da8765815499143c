"""Decides which catalogs, records and announcements a relay publishes when, in notices (pure).

An item that an app's developer submits is published at once: it is not about a person, so it need
not rest. The newest record of each topic is published when it is new, and again every hour, for
nodes that joined late or were kept from it. If a record shows that the namespace key was used
twice, both records that prove it are published, too, so that everyone sees the proof. A catalog is
published once; nodes that lack it ask for it (`catalog_exchange`).

What waits to be published is bounded for each topic by itself, so the owner of one takes no place
of another. There is always room for a record.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from methrics.node.clock import Rng
from methrics.node.relay.record_exchange import records_of
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import Item, Kind, split
from methrics.schema.wire.limits import LISTED_MAX
from methrics.schema.wire.topic import parse_topic

RETRY = 5.0
"""Seconds after which a notice is tried again that found no peer of its topic. A relay that starts
has none yet."""

CATALOGS_MAX = LISTED_MAX
"""Most submitted catalogs of a topic that wait to be published: as many as a record lists. Those
that are listed no more make room."""

ANNOUNCEMENTS_MAX = 16
"""Most announcements of a topic that wait to be published. A newer one takes the place of the
oldest."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One item to publish on a topic, in a bundle of its own."""

    topic: str
    item: Item

    @property
    def key(self) -> tuple[str, bytes]:
        """What tells two notices apart."""
        return self.topic, self.item.id


@dataclass(frozen=True, slots=True)
class _Submitted:
    notice: Notice
    time: int
    until: float

    @property
    def rank(self) -> tuple[int, bytes]:
        """What decides which of two items is newer."""
        return self.time, self.notice.item.id


class Notices:
    """The notices of one relay. `now` is in seconds on a clock that never goes back. `every`:
    seconds between two times that the newest record is published."""

    def __init__(
        self, book: CatalogBook, topics: Collection[str], *, every: float, rng: Rng
    ) -> None:
        self._book = book
        self._topics = sorted(topics)
        self._every = every
        self._rng = rng
        self._submitted: dict[tuple[str, bytes], _Submitted] = {}
        self._records: dict[tuple[str, bytes], Notice] = {}
        self._due: dict[tuple[str, bytes], float] = {}
        self.refresh()

    def __contains__(self, key: tuple[str, bytes]) -> bool:
        """Tell whether a submitted item waits to be published; `key` as of `Notice`."""
        return key in self._submitted

    def add(self, notice: Notice, *, time: int = 0, until: float = math.inf) -> bool:
        """Publish an item as soon as possible, but not after `until`. Returns False if too many of
        its topic wait already.

        `time`: the number of a record or announcement; the larger, the newer. A record that is not
        newer than one that waits is not published, unless it proves an equivocation.
        """
        topic, kind = notice.topic, notice.item.kind
        new = _Submitted(notice, time, until)
        alike = [
            one
            for one in self._submitted.values()
            if one.notice.topic == topic and one.notice.item.kind is kind
        ]
        if kind is Kind.CATALOG:
            if len(alike) >= CATALOGS_MAX and not self._drop_unlisted():
                return False
        elif len(alike) >= (1 if kind is Kind.RECORD else ANNOUNCEMENTS_MAX):
            oldest = min(alike, key=lambda one: one.rank)
            if oldest.rank >= new.rank:
                return kind is Kind.RECORD
            self._drop(oldest)
        self._submitted[notice.key] = new
        return True

    def _drop(self, one: _Submitted) -> None:
        del self._submitted[one.notice.key]
        if one.notice.key not in self._records:
            self._due.pop(one.notice.key, None)

    def _drop_unlisted(self) -> bool:
        """Drop the catalogs that are listed no more; return whether there were any."""
        gone = [
            one
            for one in self._submitted.values()
            if one.notice.item.kind is Kind.CATALOG
            and not any(
                one.notice.item.id in known.record.listings
                for known in self._book.records.newest_of(parse_topic(one.notice.topic)[1])
            )
        ]
        for one in gone:
            self._drop(one)
        return bool(gone)

    def refresh(self) -> None:
        """Take notice of the records in the book; call this whenever they change."""
        found = [
            Notice(topic, split(raw))
            for topic in self._topics
            for raw in records_of(self._book, topic)
        ]
        self._records = {notice.key: notice for notice in found}
        self._drop_unlisted()
        current = self._records.keys() | self._submitted.keys()
        self._due = {key: when for key, when in self._due.items() if key in current}

    def next_due(self, now: float) -> float | None:
        """Return the time from which `take` returns notices; None if there are none."""
        waiting = self._records.keys() | self._submitted.keys()
        return min((self._due.get(key, now) for key in waiting), default=None)

    def take(self, now: float, *, everything: bool = False) -> list[Notice]:
        """Return the notices to publish now. The caller then calls `sent` or `failed` for each.
        With `everything`, also the submitted ones that found no peer before."""
        for one in [one for one in self._submitted.values() if one.until <= now]:
            self._drop(one)
        due = [
            one.notice
            for key, one in self._submitted.items()
            if everything or self._due.get(key, now) <= now
        ]
        return due + [
            notice
            for key, notice in self._records.items()
            if self._due.get(key, now) <= now and key not in self._submitted
        ]

    def sent(self, notice: Notice, now: float) -> None:
        """Note that the item was published, or passed on when it was heard from another node."""
        self._submitted.pop(notice.key, None)
        if notice.key in self._records:
            # Relays that heard of a record at the same time do not all repeat it at the same time.
            self._due[notice.key] = now + self._every * (0.75 + self._rng() / 2)

    def failed(self, notice: Notice, now: float) -> None:
        """Note that the topic has no peer; the notice is tried again later."""
        if notice.key in self._submitted or notice.key in self._records:
            self._due[notice.key] = now + RETRY
