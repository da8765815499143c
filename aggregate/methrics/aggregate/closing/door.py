"""The door for what comes from a peer or a file: it tells what may be committed at once.

What is heard on a topic does not go through here: there, a late report is refused. Anything else
could bring reports with any time, so a report whose day is over needs a quorum of trusted peers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from methrics.aggregate.closing.contested import (
    Contest,
    Contested,
    ContestedSettings,
    KeptSince,
    Offer,
)
from methrics.aggregate.closing.over import is_over, likely_now
from methrics.aggregate.closing.trust import Trust
from methrics.aggregate.store.retention import first_kept
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock
from methrics.node.relay.clock_watch import Skew
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.judging.records import KnownRecord
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Report, decode_report
from methrics.schema.wire.limits import DAY, TIME_MAX

NAMED = Offer(b"")
"""The offer of a directory, file or address that the operator names: it counts as a quorum."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What to commit now, and what became of the other items."""

    commit: list[Accepted]
    contested: int = 0
    """Reports that were kept as contested, and were not before."""
    refused: int = 0
    """Reports that are over by their retention, were erased, found no room, or are contested
    already."""


class Door:
    """Lets items into one store. Methods may be called from any thread; they write to the disk.

    Commit what `admit` returns by `Store.commit` or through the pipeline: the commit looks for
    duplicates, erasures and revocations as always. `skew` tells whether the clock is probably
    wrong.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        trust: Trust | None = None,
        *,
        settings: ContestedSettings | None = None,
        skew: Callable[[], Skew | None] = lambda: None,
    ) -> None:
        self.trust = trust or Trust()
        self.store = store
        self.clock = clock
        self.skew = skew
        self._lock = threading.Lock()
        self._contested = Contested(store, self.trust, settings)
        self._over_at = TIME_MAX
        """The latest time by which contested reports were found to be over; at the start it is not
        known. Only by an earlier one can their day not be over."""
        self._types: dict[tuple[bytes, str], tuple[int, int]] = {}
        """(catalog id, event type) -> (lateness in seconds, retention in days)"""

    @property
    def dropped(self) -> int:
        """Contested reports that found no room since the start."""
        return self._contested.dropped

    def admit(self, accepted: Sequence[Accepted], offer: Offer) -> Admitted:
        """Tell which of the items that `offer` brought may be committed now.

        `accepted` are judged items, by `live=False` rules; their catalogs are in the file or among
        them. All but reports may always be committed, and so may a report whose day is not over,
        one that `NAMED` brings, and one that a quorum has offered by now. Others are kept as
        contested, within bounds. Raises StoreError.
        """
        now = likely_now(self.clock.now(), self.skew())
        commit: list[Accepted] = []
        late: list[tuple[Accepted, Report]] = []
        refused = 0
        with self._lock:
            for one in accepted:
                body = one.body
                if not isinstance(body, Report):
                    commit.append(one)
                    continue
                lateness, retention = self._type_of(body, accepted)
                if body.time // DAY < first_kept(retention, now):
                    refused += 1
                elif offer is NAMED or not is_over(body.time // DAY, lateness, now):
                    commit.append(one)
                else:
                    late.append((one, body))
            if not late:
                return Admitted(commit, 0, refused)
            self._over_at = max(self._over_at, now)
            days = [(body.time // DAY, one.item.id) for one, body in late]
            votes, liars = self._contested.votes(days)
            erased = self._contested.erased(days)
            kept: list[Contest] = []
            for one, body in late:
                contest = self._contest(one, body)
                voters = {*votes.get(one.item.id, ()), offer.voter}
                lied = {voter for voter in voters if (voter, contest.key, contest.day) in liars}
                if self.trust.suffices(voters - lied):
                    commit.append(one)
                elif one.item.id in erased:
                    refused += 1
                else:
                    kept.append(contest)
            added = self._contested.keep([one for one in kept if one.catalog], votes, offer, now)
        return Admitted(commit, added, refused + len(kept) - added)

    def _type_of(self, report: Report, others: Sequence[Accepted]) -> tuple[int, int]:
        """Return the lateness (seconds) and retention (days) of a report's event type."""
        named = report.catalog, report.type
        known = self._types.get(named)
        if known is None:
            catalog = self.store.catalog(report.catalog)
            brought = [one.body for one in others if one.item.id == report.catalog]
            found = catalog or next(iter(brought), None)
            types = getattr(found, "types", {})
            if report.type not in types:
                return 0, 0  # no catalog: over in any case
            declared = types[report.type]
            known = self._types[named] = declared.lateness, declared.retention_days
        return known

    def _contest(self, one: Accepted, body: Report) -> Contest:
        entry = self.store.layout.entries.get(body.catalog)
        key, number = (entry.key, entry.n) if entry else (b"", 0)
        return Contest(key, body.time // DAY, one.item.id, number, one.item.raw)

    def tidy(self, book: CatalogBook, *, sure: bool = True) -> list[Accepted]:
        """Drop contested reports that are stored, erased or too old, and return those to commit:
        their day is not over, because this clock was ahead when they came.

        With `sure` false, the clock may be wrong now, and none is returned.
        """
        now = self.clock.now()
        newest = {
            key: book.records.newest(key) for key in {one.key for one in self.store.catalogs()}
        }
        records = {key: one for key, one in newest.items() if one is not None}
        since: dict[int, KeptSince] = {}
        longest: dict[bytes, int] = {}
        for entry in self.store.catalogs():
            catalog = self.store.catalog(entry.id)
            if catalog is not None:
                types = catalog.types.values()
                firsts = [first_kept(one.retention_days, now) for one in types]
                revokes = entry.key in records and records[entry.key].record.revoked
                every = now // DAY + 1 if revokes else max(firsts)  # any of them may be revoked
                since[entry.n] = KeptSince(min(firsts), every)
                latest = max(one.lateness for one in types)
                longest[entry.key] = max(latest, longest.get(entry.key, 0))
        with self._lock:
            ids = [one.item.id for one in records.values()]
            self._contested.tidy(now, since, lambda raw: self._is_gone(raw, now, records), ids)
            likely = likely_now(now, self.skew())
            if not sure or likely >= self._over_at:
                return []
            self._over_at = likely
            again = [
                (key, day)
                for key, day, _ in self._contested.days()
                if key in longest and not is_over(day, longest[key], likely)
            ]
            raws = self._contested.of_days(again)
        # Signatures are checked last: strangers may have filled the days of other types.
        judged = (judge(raw, book, now, live=False) for raw in raws if self._open(raw, likely))
        return [one for one in judged if isinstance(one, Accepted)]

    def _is_gone(self, raw: bytes, now: int, records: Mapping[bytes, KnownRecord]) -> bool:
        """Tell whether a contested report is over by its retention, or revoked by the newest one of
        `records`, by namespace key."""
        report = decode_report(split(raw).payload)
        entry = self.store.layout.entries.get(report.catalog)
        known = records.get(entry.key) if entry else None
        if known is not None and known.record.revoked_at(report.type, report.time):
            return True
        return report.time // DAY < first_kept(self._type_of(report, ())[1], now)

    def _open(self, raw: bytes, now: int) -> bool:
        """Tell whether the day of a contested report is not over for its type."""
        report = decode_report(split(raw).payload)
        return not is_over(report.time // DAY, self._type_of(report, ())[0], now)

    def contested(self) -> list[tuple[bytes, int, int]]:
        """Return namespace key, day (since 1970-01-01) and number of the contested reports."""
        return self._contested.days()
