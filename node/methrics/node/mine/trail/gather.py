"""Reads the outboxes of one person: their own reports, and what the meter holds back.

Looks only: nothing is made, sent or marked, and a namespace without an outbox is none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from methrics.node.clock import Clock
from methrics.node.consent.ledger import read_answers
from methrics.node.mine.trail.own import Own, read_own
from methrics.node.outbox.journal import Journal
from methrics.node.paths import Paths
from methrics.node.report.parts import Parts, parts_of
from methrics.node.report.prepare import Identity, prepare
from methrics.node.report.threshold.keeping import standing_meter
from methrics.node.report.threshold.meter import Hold, Meter, Ruling
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.catalog.event_type import EventType
from methrics.schema.errors import CatalogError
from methrics.schema.wire.items import Report

_FAR = 1 << 40
"""A time after which nothing waits."""
_ALL = 50_000
"""Waiting rows looked at: more than an outbox holds."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Something recorded that the meter does not let go, and why."""

    namespace: str
    event_type: EventType
    time: int
    parts: Parts
    reason: str


@dataclass(slots=True)
class Gathered:
    """What the outboxes hold. `catalogs`: every catalog of a namespace, newest last."""

    own: list[Own] = field(default_factory=list)
    held: list[HeldBack] = field(default_factory=list)
    catalogs: dict[str, list[Catalog]] = field(default_factory=dict)


def namespaces(paths: Paths) -> list[str]:
    """Namespaces that have an outbox here."""
    try:
        names = os.listdir(paths.data)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if os.path.exists(paths.outbox(name)))


def gather(paths: Paths, clock: Clock, chosen: Collection[str] | None = None) -> Gathered:
    """All reports of the chosen namespaces (None: all), oldest first. Raises StoreError."""
    found = Gathered()
    answers = read_answers(paths.ledger)
    for namespace in namespaces(paths):
        if chosen and namespace not in chosen:
            continue
        journal = Journal(paths.outbox(namespace), clock=clock)
        try:
            catalogs = _catalogs(journal)
            found.catalogs[namespace] = sorted(catalogs.values(), key=lambda one: one.number)
            found.own += read_own(journal.receipts(), catalogs, namespace)
            allowed = {
                name: answer.fields
                for name, answer in answers.get(namespace, {}).items()
                if answer.on
            }
            meter = standing_meter(paths, namespace)
            if meter is not None:
                now = clock.now()
                found.held += _held(journal, namespace, catalogs, allowed, meter, now)
        finally:
            journal.close()
    found.own.sort(key=lambda own: (own.time, own.namespace, own.index))
    return found


def _catalogs(journal: Journal) -> dict[int, Catalog]:
    found = {}
    for number, raw in journal.catalogs().items():
        with contextlib.suppress(CatalogError):
            found[number] = load(raw)
    return found


def _held(
    journal: Journal,
    namespace: str,
    catalogs: Mapping[int, Catalog],
    allowed: Mapping[str, frozenset[str] | None],
    meter: Meter,
    now: int,
) -> list[HeldBack]:
    """What the publisher's own function would hold back, were all of it due now."""
    passing = Hold("")

    def ask(event_type: EventType, report: Report) -> Ruling:
        ruling = meter(event_type, report)
        # Nothing is to be signed here, so what may go is held as well, and left out below.
        return ruling if isinstance(ruling, Hold) else passing

    week = journal.database.rows("SELECT value FROM meta WHERE name = 'install_week'")
    done = prepare(
        journal.pending(_FAR, _ALL),
        catalogs=catalogs,
        allowed=allowed,
        identity=Identity(bytes(32), 0, week[0][0] if week else now),
        paces={name: pace._replace(next=0) for name, pace in journal.paces().items()},
        route="relay",
        now=now,
        rng=lambda: 0.0,
        meter=ask,
    )
    found = []
    for held in done.held:
        if held.reason:
            event_type = catalogs[held.row.catalog].types[held.row.type]
            parts = parts_of(held.report)
            found.append(HeldBack(namespace, event_type, held.report.time, parts, held.reason))
    return found
