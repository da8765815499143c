"""A person's own reports, read back from the journal's receipts, in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from methrics.node.outbox.journal import ACKNOWLEDGED, DUE, SENT, STRUCK, Receipt
from methrics.node.report.parts import Parts, parts_of, stable_names
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import Wire
from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.items import decode_report

_LEFT = {
    ACKNOWLEDGED: "left by {route}",
    SENT: "handed over by {route}",
    STRUCK: "may have left by {route}, not sent again",
    DUE: "tried by {route}, may have left, tried again",
}
_STAYED = {STRUCK: "struck out, never left", DUE: "waits to leave by {route}"}


@dataclass(frozen=True, slots=True)
class Own:
    """One of the person's reports. `index` is its key's; with `namespace` it names the report.

    `time` is what the report says, `made` when it was made: it left about then. `left` is False
    while nobody can have it. `key` is the public key it was signed with (32 bytes).
    """

    namespace: str
    index: int
    id: bytes
    key: bytes
    event_type: EventType
    time: int
    made: int
    route: str
    state: str
    left: bool
    parts: Parts = field(hash=False)

    @property
    def name(self) -> str:
        """The name in which links and pictures speak of it: `heartbeat 12`."""
        return f"{self.event_type.name} {self.index}"

    @property
    def stable(self) -> dict[str, Wire]:
        """The parts that are likely to be said again by the same person."""
        names = stable_names(self.event_type)
        return {name: self.parts[name] for name in names if name in self.parts}


def read_own(
    receipts: Iterable[Receipt], catalogs: Mapping[int, Catalog], namespace: str
) -> list[Own]:
    """The reports behind `receipts`, oldest first. One whose catalog is gone is left out."""
    found = []
    for receipt in receipts:
        catalog = catalogs.get(receipt.catalog)
        event_type = catalog.types.get(receipt.type) if catalog else None
        if event_type is None:
            continue
        try:
            item = split(receipt.raw)
            if item.kind is not Kind.REPORT:
                continue
            parts = parts_of(decode_report(item.payload))
        except RefusedError:
            continue
        left = receipt.state in (SENT, ACKNOWLEDGED) or receipt.attempts > 0
        found.append(
            Own(
                namespace,
                receipt.key_index,
                receipt.id,
                item.key,
                event_type,
                receipt.time,
                receipt.made,
                receipt.route,
                receipt.state,
                left,
                parts,
            )
        )
    return sorted(found, key=lambda own: (own.time, own.namespace, own.index))


def fate(own: Own) -> str:
    """What became of a report, in words."""
    words = (_LEFT if own.left else _STAYED).get(own.state, own.state)
    return words.format(route=own.route)


def moment(time: int) -> str:
    """Unix seconds as `2026-09-21 14:20` UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M")
