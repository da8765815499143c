"""Orders the records that were found of a namespace: the newest, forks, what each adds (pure).

Relays and files tell different parts of a history: one lags, another knows only one branch of a
fork. The next record of the namespace names the newest record and all forks, as far as there is
room. It keeps every revocation and every end of a listing that any of them has, also if
no other record shows how they hang together. So no copy of the key takes back what another has
signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from methrics.schema.judging.records import KnownRecord, RecordBook
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.limits import PERIOD_MAX, RECORD_PREVIOUS_MAX
from methrics.schema.wire.record import Listing, Record, Revoked


@dataclass(frozen=True)
class Lineage:
    """Records of one namespace, each once, newest first. The caller has verified them."""

    found: tuple[KnownRecord, ...] = ()

    @cached_property
    def heads(self) -> tuple[KnownRecord, ...]:
        """The newest record, and those that no other names and the newest has not settled."""
        if not self.found:
            return ()
        named = {one for known in self.found for one in known.record.previous}
        settled = self.found[0].record.settled
        open_forks = [
            known
            for known in self.found[1:]
            if known.item.id not in named and (settled is None or known.record.time > settled)
        ]
        return (self.found[0], *open_forks)

    @cached_property
    def proof(self) -> tuple[KnownRecord, ...]:
        """The two records that prove the oldest equivocation that is not healed, or none."""
        book = RecordBook()
        for known in reversed(self.found):
            book.add(*known)
        raws = book.proof(self.found[0].item.key) if self.found else None
        return tuple(known for known in self.found if known.item.raw in (raws or ()))

    @cached_property
    def parents(self) -> tuple[KnownRecord, ...]:
        """The records that the next one names: the newest, those of the proof, and the newest of
        the other heads, as many as a record can name."""
        chosen = {one.item.id: one for one in (*self.heads[:1], *self.proof, *self.heads)}
        return tuple(chosen.values())[:RECORD_PREVIOUS_MAX]

    @property
    def apart(self) -> tuple[KnownRecord, ...]:
        """The records that are not known to come before the newest, though nothing proves an
        equivocation, and those that have something which the newest lacks."""
        told, heads = self.proof, self.heads
        return tuple(
            known
            for known in self.found[1:]
            if known not in told and (known in heads or self._is_more(known))
        )

    @property
    def revoked(self) -> dict[str, Revoked]:
        """All revocations, each with the earliest time that any record has."""
        found: dict[str, Revoked] = {}
        for known in self.found:
            for name, one in known.record.revoked.items():
                if name not in found or one.time < found[name].time:
                    found[name] = one
        return found

    def listings(self, time: int) -> dict[bytes, Listing]:
        """Returns all listings, by catalog id, that a record of `time` (Unix seconds) keeps, each
        with the earliest end that any record has."""
        kept: dict[bytes, Listing] = {}
        for catalog in {one.catalog for known in self.found for one in known.record.catalogs}:
            one = _joined([one for known in self.found for one in self._counting(known, catalog)])
            if one is not None and not _over(one, time):
                kept[catalog] = one
        return kept

    def _counting(self, known: KnownRecord, catalog: bytes) -> Iterable[Listing]:
        """Yields the listing of a catalog in one record, unless a later record may have ended it
        and another left it out since then."""
        one = known.record.listings.get(catalog)
        outdated = known.record.time + PERIOD_MAX < self.found[0].record.time
        if one is not None and not (outdated and one.delisted is None):
            yield one

    def _is_more(self, known: KnownRecord) -> bool:
        """Whether a record revokes, lists or ends something that the newest does not."""
        time = self.found[0].record.time
        alone, both = Lineage(self.found[:1]), Lineage((self.found[0], known))
        return alone.revoked != both.revoked or alone.listings(time) != both.listings(time)


def lineage(found: Iterable[tuple[Item, Record]]) -> Lineage:
    """Returns the lineage of some verified records of one namespace, in any order."""
    once = {item.id: KnownRecord(item, record) for item, record in found}
    return Lineage(tuple(sorted(once.values(), key=lambda one: one.rank, reverse=True)))


def _joined(listings: Sequence[Listing]) -> Listing | None:
    """Returns one listing of a catalog for those of several records: it has the earliest beginning
    and the earliest end. Those that had left the list when it was listed again do not count."""
    if not listings:
        return None
    first, before = max(one.listed for one in listings), None
    while first != before:
        count, before = [one for one in listings if not _over(one, first)], first
        first = min(one.listed for one in count)
    ends = [one.delisted for one in count if one.delisted is not None]
    return Listing(listings[0].catalog, first, min(ends, default=None))


def _over(one: Listing, time: int) -> bool:
    """Whether no report under a delisted catalog can arrive any more, whatever its lateness."""
    return one.delisted is not None and one.delisted + PERIOD_MAX < time
