"""An aggregator in a test, and beside it a model of what it must have: sets of numbers of reports.

The model knows the rules by which an aggregator takes and deletes reports, and nothing of files,
tables, digests or sessions.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import aggregate_making as making
from catalog_text import TYPE
from closing_making import KEYS, VOTERS
from reconcile_making import raws_of

from methrics.aggregate.closing.closer import Closer
from methrics.aggregate.closing.contested import KEPT_DAYS, Offer
from methrics.aggregate.closing.door import Door
from methrics.aggregate.closing.exchange import newest_of, page_of
from methrics.aggregate.closing.manifests import Kept, closed_of, keep_manifests
from methrics.aggregate.closing.over import is_over
from methrics.aggregate.closing.trust import Trust
from methrics.aggregate.reconcile.answer import Answerer, Asker
from methrics.aggregate.reconcile.duck_set import open_duck_set
from methrics.aggregate.reconcile.item_set import set_digest
from methrics.aggregate.reconcile.tree import Ask, Pull
from methrics.aggregate.reconcile.wire import Open, Which, read_opened
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.schema.judging.judge import Accepted, accept, judge
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Erasure, Report, encode_report
from methrics.schema.wire.manifest import Manifest, erasures_digest, reports_digest

DAY = making.DAY
BRIEF = f"""
[types.brief]
kind = "state"
chart = "line:os"
{TYPE.replace("365", "30")}
[types.brief.release]
delay = 300
every = [86400, 172800]
jitter = 600
[types.brief.fields.os]
type = "enum"
values = ["linux", "macos"]
says = "System."
"""
CATALOG = making.catalog(extra=BRIEF, replace=("retention_days = 365", "retention_days = 40"))
KEY = CATALOG.key
BOOK = making.book(CATALOG)
SALT = b"a fixed salt here"[:16]

START = making.NOW - 7200
DAYS = (0, 0, 1, 2, 19, 21, 22, 24, 28, 31)
"""Days before the start on which the reports are, two on each: from fresh to over for one type."""


def _brief(i: int, time: int) -> bytes:
    report = Report(CATALOG.id, "brief", time, {"os": "linux"})
    return seal(Kind.REPORT, encode_report(report), making.seed("brief", i))


def _times() -> list[int]:
    return [START - DAY * DAYS[i // 2] - 600 * i for i in range(2 * len(DAYS))]


RAWS = [
    _brief(i, time) if i % 2 else making.beat(CATALOG, i, time) for i, time in enumerate(_times())
]
"""The reports; those of even numbers are kept for 40 days, the others for 30."""
ERASED = range(0, len(RAWS), 3)
"""The reports that have an erasure."""
ERASURES = {
    i: making.erasure(CATALOG, RAWS[i], "brief" if i % 2 else "beat", i, time)
    for i, time in enumerate(_times())
    if i in ERASED
}
DAY_OF = [time // DAY for time in _times()]
ID_OF = [split(raw).id for raw in RAWS]
ERASURE_ID_OF = {i: split(raw).id for i, raw in ERASURES.items()}
NUMBER_OF = {one: i for i, one in enumerate(ID_OF)} | {one: i for i, one in ERASURE_ID_OF.items()}
LATENESS = CATALOG.types["beat"].lateness


def retention(i: int) -> int:
    """For how many days report `i` is kept."""
    return 30 if i % 2 else 40


@cache
def _template() -> tuple[tempfile.TemporaryDirectory[str], Path]:
    """A file with the catalog and its record, which is copied: to make one takes a while."""
    folder = tempfile.TemporaryDirectory(prefix="model-")
    path = Path(folder.name, "empty.duckdb")
    newest = BOOK.records.newest(KEY)
    assert newest is not None
    with Store(path) as store:
        first = [Accepted(*newest), accept(CATALOG.raw, BOOK, making.NOW, live=False)]
        store.commit(Batch(making.NOW, first))
    return folder, path


class Aggregator:
    """Number `i` of a few aggregators that trust each other; `quorum` of the others must agree."""

    def __init__(self, folder: Path, i: int, count: int, quorum: int, clock: ManualClock) -> None:
        self.i = i
        self.voter = VOTERS[i]
        self.clock = clock
        self.trust = Trust(frozenset(VOTERS[:count]) - {self.voter}, quorum)
        path = folder / f"{i}.duckdb"
        shutil.copy(_template()[1], path)
        self.has: set[int] = set()
        self.erased: set[int] = set()
        self.votes: dict[int, set[bytes]] = {}
        self.since: dict[int, int] = {}
        """report -> the hour in which it was first contested"""
        self._open(path)

    def _open(self, path: Path) -> None:
        self.store = Store(path)
        self.door = Door(self.store, self.clock, self.trust)
        self.closer = Closer(self.store, KEYS[self.i])

    @property
    def today(self) -> int:
        return self.clock.now() // DAY

    def kept(self, i: int) -> bool:
        """Whether retention keeps report `i` today."""
        return DAY_OF[i] >= self.today - retention(i)

    def buried(self, i: int) -> bool:
        """Whether the erasure of report `i` is kept today: as long as any report of its day."""
        return DAY_OF[i] >= self.today - 40

    def visible(self) -> set[int]:
        """The reports that a session compares."""
        return {i for i in self.has if self.kept(i)}

    def over(self, i: int) -> bool:
        """Whether report `i` needs a quorum."""
        return is_over(DAY_OF[i], LATENESS, self.clock.now())

    def restart(self) -> None:
        """Close the file and open it again."""
        self.store.close()
        self._open(self.store.path)

    def hear(self, raws: Iterable[bytes]) -> None:
        """Take what comes on the topic and is accepted there."""
        now = self.clock.now()
        verdicts = [judge(raw, BOOK, now, live=True) for raw in raws]
        accepted = [one for one in verdicts if isinstance(one, Accepted)]
        self.store.commit(Batch(now, accepted))
        self._note(accepted)

    def offered(self, raws: Iterable[bytes], voter: bytes) -> None:
        """Take what a peer offers, through the door."""
        now = self.clock.now()
        accepted = [accept(raw, BOOK, now, live=False) for raw in raws]
        self.store.commit(Batch(now, self.door.admit(accepted, Offer(voter)).commit))
        taken: list[Accepted] = []
        for one in accepted:
            i = NUMBER_OF[one.item.id]
            if isinstance(one.body, Erasure) or not self.over(i):
                taken.append(one)
            elif self.kept(i):
                votes = self.votes.setdefault(i, set())
                self.since.setdefault(i, now - now % 3600)
                votes.update({voter} & self.trust.voters)
                if len(votes) >= self.trust.quorum:
                    taken.append(one)
        self._note(taken)

    def _note(self, taken: Iterable[Accepted]) -> None:
        found = [(NUMBER_OF[one.item.id], isinstance(one.body, Erasure)) for one in taken]
        self.has |= {i for i, erases in found if not erases and self.kept(i)}
        self.erased |= {i for i, erases in found if erases and self.buried(i)}
        self.has -= self.erased

    def expire(self) -> None:
        """Delete what is over by its retention."""
        self.store.expire(self.clock.now())
        self.has = self.visible()
        self.erased = {i for i in self.erased if self.buried(i)}

    def tidy(self) -> None:
        """Drop the contested reports that are of no use any more."""
        assert self.door.tidy(BOOK) == []
        oldest = self.clock.now() - KEPT_DAYS * DAY
        gone = self.has | self.erased | {i for i, since in self.since.items() if since < oldest}
        self.votes = {i: own for i, own in self.votes.items() if i not in gone and self.kept(i)}
        self.since = {i: since for i, since in self.since.items() if i in self.votes}
        assert sum(count for *_, count in self.door.contested()) == len(self.votes)

    def manifest(self, day: int) -> tuple[int, bytes, int, bytes]:
        """What a manifest of a day must say now."""
        ids = sorted(ID_OF[i] for i in self.has if DAY_OF[i] == day)
        gone = sorted(ERASURE_ID_OF[i] for i in self.erased if DAY_OF[i] == day)
        return *reports_digest(KEY, day, ids), *erasures_digest(KEY, day, gone)

    def close_days(self) -> None:
        """Sign the manifests of days that are over, and compare all with the model."""
        now = self.clock.now()
        self.closer.close(now)
        with self.store.reading() as con:
            own = closed_of(con, self.voter)
        over = {DAY_OF[i] for i in self.has if self.over(i)}
        assert over <= {day for _, day in own}
        for (_, day), signed in own.items():
            assert is_over(day, LATENESS, now)
            assert _facts(signed.manifest) == self.manifest(day)

    def take_manifests(self, other: Aggregator) -> Kept:
        """Get the manifests of another aggregator."""
        page = page_of(other.store, other.voter, newest_of(self.store, other.voter, KEY))
        return keep_manifests(self.store, page, self.trust.voters, self.clock.now())

    def digests(self) -> list[bytes]:
        """The digests of what a session compares."""
        opened = open_duck_set(self.store, KEY, self.today, lambda _: b"")
        try:
            return [set_digest(KEY, which, opened.items.days(which)) for which in Which]
        finally:
            opened.close()

    def session(self, other: Aggregator, most: int = 1000) -> None:
        """Fetch from another aggregator what this one lacks, in `most` steps."""
        answering = Answerer(
            lambda key, as_of, _: open_duck_set(other.store, key, as_of, lambda _: b""),
            lambda: self.today,
            lambda size: bytes(size),
        )
        own = open_duck_set(self.store, KEY, self.today, lambda _: b"")
        taken: list[bytes] = []
        ended = False
        try:
            sums = [set_digest(KEY, which, own.items.days(which)) for which in Which]
            asker = Asker("peer")
            request = Open(KEY, self.today, b"", *sums)
            opened = read_opened(answering.answer(asker, request, 0.0)[0])
            if opened is not None:
                pull = Pull(own.items, opened, SALT)
                ended = _follow(
                    pull, lambda one: answering.answer(asker, one.request, 0.0)[0], taken, most
                )
        finally:
            own.close()
            answering.close()
        found = {(NUMBER_OF[item.id], item.kind) for item in map(split, taken)}
        assert {i for i, kind in found if kind is Kind.REPORT} <= other.visible()
        if ended:
            lacking = {(i, Kind.REPORT) for i in other.visible() - self.has}
            unknown = {i for i in other.erased - self.erased if self.buried(i)}
            assert found >= lacking | {(i, Kind.ERASURE) for i in unknown}
        self.offered(taken, other.voter)


def _follow(pull: Pull, answer: Callable[[Ask], bytes], taken: list[bytes], most: int) -> bool:
    """Run the steps of a session, `most` at most; return whether it came to its end."""
    steps, reply = pull.steps(), None
    for _ in range(most):
        try:
            step = next(steps) if reply is None else steps.send(reply)
        except StopIteration:
            return True
        reply = None
        if isinstance(step, Ask):
            reply = answer(step)
        else:
            taken += raws_of(step)
    return False


def _facts(one: Manifest) -> tuple[int, bytes, int, bytes]:
    return one.count, one.digest, one.erasures, one.erasures_digest
