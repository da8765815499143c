"""Reads own reports from the outboxes on this machine, and the rows that the meter withholds.

Changes nothing: no report is made, sent or marked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from methrics.node.clock import Clock
from methrics.node.consent.ledger import read_answers
from methrics.node.mine.own import ReadableReport, read_own, readable
from methrics.node.outbox.found import choose_namespaces, read_catalogs
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import Identity
from methrics.node.paths import Paths
from methrics.node.report.parts import Parts, parts_of
from methrics.node.report.prepare import prepare
from methrics.node.report.threshold.keeping import threshold_meter
from methrics.node.report.threshold.meter import Meter, Ruling, Withhold
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType
from methrics.schema.wire.items import Report

_FAR = 1 << 40
"""Unix seconds later than the due time of any row."""
_ALL = 50_000
"""Most pending rows that are read: more than an outbox holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithheldRow:
    """A pending row that the meter withholds. `reason` is for a person."""

    namespace: str
    event_type: EventType
    time: int
    parts: Parts
    reason: str


@dataclass(slots=True)
class Gathered:
    """The content of the outboxes that a trail needs. `catalogs`: all catalogs of each namespace,
    newest last."""

    own: list[ReadableReport] = field(default_factory=list)
    withheld: list[WithheldRow] = field(default_factory=list)
    catalogs: dict[str, list[Catalog]] = field(default_factory=dict)


def gather(paths: Paths, clock: Clock, chosen: Collection[str] = ()) -> Gathered:
    """Reads the outboxes of the chosen namespaces (all namespaces if none is chosen). The reports
    are sorted, oldest first.

    Raises StoreError, and ConfigError `unknown-namespace`.
    """
    found = Gathered()
    answers = read_answers(paths.ledger)
    for namespace in choose_namespaces(paths, chosen):
        journal = Journal(paths.outbox(namespace), clock=clock)
        try:
            catalogs = read_catalogs(journal)
            found.catalogs[namespace] = sorted(catalogs.values(), key=lambda one: one.number)
            found.own += readable(read_own(journal, catalogs, namespace))
            allowed = {
                name: answer.fields
                for name, answer in answers.get(namespace, {}).items()
                if answer.on
            }
            meter = threshold_meter(paths, namespace)
            if meter is not None:
                now = clock.now()
                found.withheld += _withheld(journal, namespace, catalogs, allowed, meter, now)
        finally:
            journal.close()
    found.own = readable(found.own)
    return found


def _withheld(
    journal: Journal,
    namespace: str,
    catalogs: Mapping[int, Catalog],
    allowed: Mapping[str, frozenset[str] | None],
    meter: Meter,
    now: int,
) -> list[WithheldRow]:
    """Returns the rows that the publisher would withhold if all pending rows were due now."""
    passing = Withhold("")

    def ask(event_type: EventType, report: Report) -> Ruling:
        ruling = meter(event_type, report)
        # No report may be signed here. So the reports that could be sent are withheld too, without
        # a reason, and are left out below.
        return ruling if isinstance(ruling, Withhold) else passing

    week = journal.database.rows("SELECT value FROM meta WHERE name = 'install_week'")
    done = prepare(
        journal.pending(_FAR, _ALL).rows,
        catalogs=catalogs,
        allowed=allowed,
        identity=Identity(seed=bytes(32), next_index=0, install_week=week[0][0] if week else now),
        paces={name: replace(pace, next=0) for name, pace in journal.paces().items()},
        route="relay",
        now=now,
        rng=lambda: 0.0,
        entropy=bytes,  # zeros: nothing is signed here
        meter=ask,
    )
    return [
        WithheldRow(
            namespace=namespace,
            event_type=catalogs[one.row.catalog].types[one.row.type],
            time=one.report.time,
            parts=parts_of(one.report),
            reason=one.reason,
        )
        for one in done.withheld
        if one.reason
    ]
