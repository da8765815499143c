"""Reads a person's own reports back from the receipts on this machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from methrics.node.outbox.erasures import Erasures, JournaledErasure
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.records import Kept, Records
from methrics.node.outbox.rows import ACKNOWLEDGED, STRUCK, Receipt
from methrics.node.report.parts import Parts, parts_of, said, stable_names
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import Wire
from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Report, decode_report

NO_RECORD = Kept()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnReport:
    """One of the person's reports. On this machine, `namespace` and `number` identify it.

    `report`: the decoded report, None if its bytes are damaged. `parts`: its values by name.
    `event_type`: None if the catalog is not in the outbox any more. `erasure`: None if no erasure
    was requested. `revoked`: whether the app's owner has revoked its event type, as far as this
    machine knows. Two own reports are equal if their namespaces and receipts are equal.
    """

    namespace: str
    receipt: Receipt
    report: Report | None = field(default=None, compare=False)
    event_type: EventType | None = field(default=None, compare=False)
    parts: Parts = field(default_factory=dict, compare=False)
    erasure: JournaledErasure | None = field(default=None, compare=False)
    revoked: bool = field(default=False, compare=False)

    @property
    def id(self) -> bytes:
        """The report's id, 32 bytes."""
        return self.receipt.id

    @property
    def number(self) -> int:
        """The index of the report's key."""
        return self.receipt.key_index

    @property
    def time(self) -> int:
        """The time in the report, Unix seconds."""
        return self.receipt.time

    @property
    def made(self) -> int:
        """When the report was made (Unix seconds), which is shortly before it is sent."""
        return self.receipt.made

    @property
    def may_have_left(self) -> bool:
        """Whether anybody else can have the report."""
        return self.receipt.may_have_left

    @property
    def name(self) -> str:
        """A short name for links and pictures: `heartbeat 12`."""
        return f"{self.receipt.type} {self.number}"

    @property
    def words(self) -> str:
        """The report's values on one line, such as `version 1.2, os linux, daily yes`; empty if the
        report cannot be decoded."""
        return said(self.event_type, self.parts) if self.event_type and self.report else ""

    @property
    def fate(self) -> str:
        """Whether the report, or its erasure, has left, in words for a person."""
        if self.erasure is not None:
            return self.erasure.words
        state, route = self.receipt.state, self.receipt.route
        if state == ACKNOWLEDGED:
            return f"left by {route}"
        if state == STRUCK:
            tried = f"may have left by {route}, will not be sent again"
            why = "; its event type is revoked" if self.revoked else ""
            return tried if self.may_have_left else f"struck out, never left{why}"
        tried = f"may have left by {route}, will be tried again"
        return tried if self.may_have_left else f"waits to leave by {route}"


def left_words(reports: Collection[OwnReport]) -> str:
    """Returns one sentence about reports that may have left: how many a relay or peer accepted,
    and of how many it is unknown whether they arrived."""
    accepted = sum(one.receipt.state == ACKNOWLEDGED for one in reports)
    tried = len(reports) - accepted
    parts = []
    if accepted:
        parts.append(
            f"already sent: {_reports(accepted)}, public now or within two days, while "
            "relays still mix them with others"
        )
    if tried:
        parts.append(f"sending was tried: {_reports(tried)}, which may have left")
    return "; ".join(parts)


def _reports(n: int) -> str:
    return f"{n} report" if n == 1 else f"{n} reports"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadableReport(OwnReport):
    """An own report whose bytes can be decoded and whose event type is known. `methrics trail`
    measures only such reports. `key`: the public key of the report's signature, 32 bytes."""

    report: Report = field(compare=False)
    event_type: EventType = field(compare=False)
    key: bytes = field(compare=False)

    @property
    def stable(self) -> dict[str, Wire]:
        """The parts that describe the person or machine, so that the same person is likely to send
        them again."""
        names = stable_names(self.event_type)
        return {name: self.parts[name] for name in names if name in self.parts}


def read_own(journal: Journal, catalogs: Mapping[int, Catalog], namespace: str) -> list[OwnReport]:
    """Returns the own reports in the journal of `namespace`, newest first. Raises StoreError."""
    kept, erasures = Records(journal).load(), Erasures(journal).all()
    return own_reports(journal.receipts(), catalogs, namespace, erasures, kept)


def own_reports(
    receipts: Iterable[Receipt],
    catalogs: Mapping[int, Catalog],
    namespace: str,
    erasures: Mapping[int, JournaledErasure] | None = None,
    kept: Kept = NO_RECORD,
) -> list[OwnReport]:
    """Returns the own report of each receipt, in the same order. `erasures`: by key index. `kept`:
    the record of the namespace."""
    requested, found = erasures or {}, []
    for one in receipts:
        own = _own_report(one, catalogs.get(one.catalog), namespace, requested.get(one.key_index))
        found.append(replace(own, revoked=kept.revoked(one.type, one.time) is not None))
    return found


def readable(own: Iterable[OwnReport]) -> list[ReadableReport]:
    """Returns the readable reports among `own`, sorted by the time in the report, oldest first."""
    found = [one for one in own if isinstance(one, ReadableReport)]
    return sorted(found, key=lambda one: (one.time, one.namespace, one.number))


def moment(time: int) -> str:
    """Returns Unix seconds as text in UTC, such as `2026-09-21 14:20`."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M")


def _own_report(
    receipt: Receipt, catalog: Catalog | None, namespace: str, erasure: JournaledErasure | None
) -> OwnReport:
    event_type = catalog.types.get(receipt.type) if catalog else None
    try:
        item = split(receipt.raw)
        report = decode_report(item.payload)
    except RefusedError:
        return OwnReport(
            namespace=namespace, receipt=receipt, event_type=event_type, erasure=erasure
        )
    if event_type is None:
        return OwnReport(
            namespace=namespace,
            receipt=receipt,
            report=report,
            parts=parts_of(report),
            erasure=erasure,
        )
    return ReadableReport(
        namespace=namespace,
        receipt=receipt,
        report=report,
        event_type=event_type,
        parts=parts_of(report),
        key=item.key,
        erasure=erasure,
    )
