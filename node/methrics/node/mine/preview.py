"""Computes which reports would leave next, with the publisher's own code. Changes nothing.

A journaled report is final: either exactly its bytes are sent, or it is not sent. For a pending
row, the preview contains the report that would be made of it if nothing else happened first. The
recorded values decide the content of that report. Its key, and so its bytes, are fixed only when it
is made, because another report may use the key first. Random times are not drawn here; for each,
the earliest possible time is shown.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter

from methrics.node.clock import Clock
from methrics.node.outbox.found import read_catalogs
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import week_start
from methrics.node.outbox.records import Kept, Records
from methrics.node.outbox.rows import Identity, Pending, Receipt, Snapshot
from methrics.node.paths import Paths
from methrics.node.publish.permission import Consent, consent_of
from methrics.node.publish.standing import waits
from methrics.node.report.epsilon import epsilon_meter
from methrics.node.report.prepare import Prepared, credible, prepare
from methrics.node.report.threshold.keeping import threshold_meter
from methrics.node.report.threshold.meter import Meter
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Report, decode_report
from methrics.schema.wire.verdict import Reason

SIGNED, PLANNED, WITHHELD, WAITS, NEVER = "signed", "planned", "withheld", "waits", "never"
"""States of an entry. SIGNED: a journaled report. PLANNED: a report that would be made. WITHHELD: a
report that the person's threshold or the bound of `report.epsilon` withholds. WAITS: an entry that
may not leave by this route now. NEVER: an entry that will never be sent."""

UNDRAWN = "undrawn"
"""Reason of a planned report whose randomized responses are only examples, because the app has no
seed before its first report."""

NO_SEED = bytes(32)
"""The seed that the preview uses for an app that has no seed yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """An entry of a preview: a journaled report, or a pending row and the report to be made of it.

    `id`: 8 hex digits that change if the entry changes. `state`: SIGNED, PLANNED, WITHHELD, WAITS
    or NEVER. `reason`: the cause of the last three states, or UNDRAWN. `earliest`: the earliest
    time at which it may be sent (Unix seconds). `route`: that of the preview. `report` and `raw`
    (the exact bytes) are None and b"" if no report is made.
    """

    namespace: str
    id: str
    state: str
    type: str
    time: int
    earliest: int
    catalog: Catalog | None
    source: Pending | Receipt
    route: str
    report: Report | None = None
    raw: bytes = b""
    reason: str = ""

    @property
    def order(self) -> tuple[bool, int, str]:
        """Sorts entries: those that leave soonest first, those that never leave last."""
        return self.state == NEVER, self.earliest, self.id

    @property
    def attempts(self) -> int:
        """How often sending was tried. If it is not 0, the report may have left already."""
        return self.source.attempts if isinstance(self.source, Receipt) else 0


@dataclass(slots=True)
class Preview:
    """The reports that one app would send. `erasures`: the due times of its unsent erasures (Unix
    seconds). `kept`: the record of the app's namespace, as far as this machine knows it."""

    namespace: str
    leaving: list[Leaving] = field(default_factory=list)
    erasures: list[int] = field(default_factory=list)
    kept: Kept = field(default_factory=Kept)


def look(
    paths: Paths, namespace: str, consent: Consent, route: str, clock: Clock
) -> Preview | None:
    """Returns the entries that `namespace` would send by `route`, soonest first; None if it has no
    outbox.

    Raises StoreError."""
    journal = Journal(paths.outbox(namespace), clock=clock)
    if not journal.exists():
        return None
    try:
        snapshot, kept = journal.snapshot(), Records(journal).load()
        catalogs = read_catalogs(journal)
        meter = epsilon_meter(journal, threshold_meter(paths, namespace))
        found = plan(namespace, snapshot, catalogs, consent, route, clock.now(), meter)
    finally:
        journal.close()
    found = [_by_record(one, kept) for one in found]
    return Preview(namespace, found, snapshot.erasures, kept)


def look_all(paths: Paths, namespaces: Iterable[str], route: str, clock: Clock) -> list[Preview]:
    """Returns the preview of each of `namespaces` that has an outbox, under the consent of this
    moment. Raises StoreError."""
    found = [
        look(paths, name, consent_of(paths, name, route, clock)(), route, clock)
        for name in namespaces
    ]
    return [one for one in found if one is not None]


def plan(
    namespace: str,
    snapshot: Snapshot,
    catalogs: Mapping[int, Catalog],
    consent: Consent,
    route: str,
    now: int,
    meter: Meter | None = None,
) -> list[Leaving]:
    """Returns the entries of a preview at `now` (Unix seconds), soonest first. Pure."""
    signed = [_signed(namespace, one, catalogs, consent, route, now) for one in snapshot.due]
    made = _Making(namespace, snapshot, catalogs, consent, route, meter, now)
    found = signed + made.all()
    return sorted(found, key=attrgetter("order"))


def strike(journal: Journal, one: Leaving) -> str:
    """Strikes `one`, so that it is not sent, or not sent again.

    Returns `struck`; `tried` if it may have left already; or `gone`, with nothing changed, if the
    entry has changed since the preview was made. Raises StoreError.
    """
    if isinstance(one.source, Receipt):
        before = journal.strike(one.source.key_index)
        if before is None:
            return "gone"
        return "tried" if before.may_have_left else "struck"
    return "struck" if journal.strike_row(one.source) else "gone"


def choose(found: list[Leaving], word: str) -> Leaving | None:
    """Returns the entry that `word` names: by its number in the list (counted from 1, at most five
    digits), or by the first four or more characters of its id, if exactly one id begins with them.
    Otherwise returns None."""
    if word.isdecimal() and len(word) < 6:
        place = int(word)
        return found[place - 1] if 1 <= place <= len(found) else None
    fits = [one for one in found if len(word) >= 4 and one.id.startswith(word.lower())]
    return fits[0] if len(fits) == 1 else None


def _signed(
    namespace: str,
    receipt: Receipt,
    catalogs: Mapping[int, Catalog],
    consent: Consent,
    route: str,
    now: int,
) -> Leaving:
    catalog = catalogs.get(receipt.catalog)
    event_type = catalog.types.get(receipt.type) if catalog else None
    try:
        report = decode_report(split(receipt.raw).payload)
    except RefusedError:
        report = None
    one = Leaving(
        namespace=namespace,
        id=receipt.id.hex()[:8],
        state=SIGNED,
        type=receipt.type,
        time=receipt.time,
        earliest=max(now, receipt.due_at(now)),
        catalog=catalog,
        source=receipt,
        route=route,
        report=report,
        raw=receipt.raw,
    )
    if event_type is None or report is None:
        return replace(one, state=NEVER, reason="unknown-type")
    if one.earliest - receipt.time > event_type.lateness:
        return replace(one, state=NEVER, reason=str(Reason.LATE))
    if one.earliest >= event_type.expires:
        return replace(one, state=NEVER, reason=str(Reason.EXPIRED))
    if receipt.type not in consent.allowed:
        state, reason = _not_allowed(consent, receipt.type)
        return replace(one, state=state, reason=reason)
    return one


def _by_record(one: Leaving, kept: Kept) -> Leaving:
    """Returns the entry as the record allows it: revoked types never leave, and what no record
    lists waits. Without a record, the publisher has not asked for one yet."""
    if one.state not in (SIGNED, PLANNED) or one.catalog is None or not kept.raws:
        return one
    if kept.revoked(one.type, one.time) is not None:
        return replace(one, state=NEVER, reason=str(Reason.REVOKED))
    resolution = one.catalog.types[one.type].resolution
    reason = waits(kept, one.catalog.id, one.time, resolution, now=one.earliest, needed=kept.relays)
    return replace(one, state=WAITS, reason=reason) if reason else one


def _not_allowed(consent: Consent, type_name: str) -> tuple[str, str]:
    """Returns the state and reason of an entry that consent does not allow to leave now."""
    return (NEVER, "withdrawn") if type_name in consent.withdrawn else (WAITS, "not-allowed")


class _Making:
    """Simulates the publisher's next passes on a snapshot."""

    def __init__(
        self,
        namespace: str,
        snapshot: Snapshot,
        catalogs: Mapping[int, Catalog],
        consent: Consent,
        route: str,
        meter: Meter | None,
        now: int,
    ) -> None:
        self._namespace = namespace
        self._snapshot = snapshot
        self._catalogs = catalogs
        self._consent = consent
        self._route = route
        self._meter = meter
        self._paces = dict(snapshot.paces)
        self._index = snapshot.next_index
        self._now = now

    def all(self) -> list[Leaving]:
        """Returns the entries of all pending rows, in the order in which their reports would be
        made."""
        now = self._now
        rows = sorted(self._snapshot.waiting, key=attrgetter("time"))
        queue = [(self._start(row, now), place) for place, row in enumerate(rows)]
        heapq.heapify(queue)
        found = []
        while queue:
            start, place = heapq.heappop(queue)
            row = rows[place]
            later = self._start(row, start)
            if later > start:
                heapq.heappush(queue, (later, place))
            else:
                found.append(self._one(row, start))
        return found

    def _start(self, row: Pending, now: int) -> int:
        pace = self._paces.get(row.type)
        return max(now, row.due, credible(pace, self._now).next if pace else 0)

    def _one(self, row: Pending, now: int) -> Leaving:
        """Returns the entry of `row`, if the publisher processes the row at `now`."""
        if row.type not in self._consent.allowed:
            return self._leaving(row, now, *_not_allowed(self._consent, row.type))
        done = self._prepare(row, now)
        self._paces |= {} if done.withheld else done.paces
        if done.made:
            self._index += 1
            made = done.made[0]
            one = self._leaving(row, now, PLANNED, "")
            report = decode_report(split(made.raw).payload)
            reason = UNDRAWN if self._undrawn_answers(row, report) else ""
            return replace(one, time=made.time, report=report, raw=made.raw, reason=reason)
        if done.withheld:
            withheld = done.withheld[0]
            one = self._leaving(row, now, WITHHELD, withheld.reason)
            return replace(one, time=withheld.report.time, report=withheld.report)
        return self._leaving(row, now, NEVER, next(iter({**done.dropped, **done.quiet})))

    def _undrawn_answers(self, row: Pending, report: Report) -> bool:
        """Returns whether `report` has a randomized response while the app has no seed yet, which
        decides the response."""
        catalog = self._catalogs.get(row.catalog)
        if self._snapshot.seed is not None or catalog is None:
            return False
        fields = catalog.types[row.type].fields
        return any(one.randomize is not None and one.name in report.values for one in fields)

    def _prepare(self, row: Pending, now: int) -> Prepared:
        kept = self._snapshot
        week = week_start(now) if kept.install_week is None else kept.install_week
        return prepare(
            [row],
            catalogs=self._catalogs,
            allowed=self._consent.allowed,
            identity=Identity(seed=kept.seed or NO_SEED, next_index=self._index, install_week=week),
            paces=self._paces,
            route=self._route,
            now=now,
            rng=_undrawn,
            entropy=bytes,  # zeros: the salt is drawn only when the report is made
            meter=self._meter,
        )

    def _leaving(self, row: Pending, earliest: int, state: str, reason: str) -> Leaving:
        return Leaving(
            namespace=self._namespace,
            id=_name(self._namespace, row),
            state=state,
            type=row.type,
            time=row.time,
            earliest=earliest,
            catalog=self._catalogs.get(row.catalog),
            source=row,
            route=self._route,
            reason=reason,
        )


def _undrawn() -> float:
    """Replaces the random draw by 0, which gives the earliest time."""
    return 0.0


def _name(namespace: str, row: Pending) -> str:
    """Returns an id for a pending row. It changes when a state is recorded again, and stays the
    same when a counter grows."""
    parts = (namespace, row.table, row.n, row.type, row.time, row.due, row.fields, row.steps)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]
