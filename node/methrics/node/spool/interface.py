"""The app's side of a spool as a protocol, and the event types that it is called with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from methrics.node.spool.records import COUNT, EVENT, SEQUENCE, STATE, type_head

if TYPE_CHECKING:
    from methrics.schema.catalog.event_type import EventType


class SpooledType:
    """An event type of one catalog, with the beginnings of its records. `one_in`: the app records
    one event in this many."""

    __slots__ = ("catalog", "count", "event", "event_type", "one_in", "sequence", "state")

    def __init__(self, catalog: int, event_type: EventType, one_in: int) -> None:
        name = event_type.name
        self.catalog = catalog
        self.event_type = event_type
        self.one_in = one_in
        self.event = type_head(EVENT, catalog, one_in, name)
        self.sequence = type_head(SEQUENCE, catalog, one_in, name)
        self.count = type_head(COUNT, catalog, one_in, name)
        self.state = type_head(STATE, catalog, one_in, name)


class AppSpool(Protocol):
    """The methods of a spool that a recorder calls. `Spool` documents each; the simulator
    implements them in memory."""

    def keep_catalog(self, catalog: int, raw: bytes) -> None: ...
    def event(
        self, kind: SpooledType, time: int, start: int, fields: bytes, steps: bytes = b""
    ) -> None: ...
    def count(self, kind: SpooledType, window: int, end: int, fields: bytes, n: int) -> None: ...
    def state(self, kind: SpooledType, time: int, start: int, fields: bytes) -> None: ...
    @property
    def look_at(self) -> float: ...
    def look(self, monotonic: float) -> None: ...
    def tell_due(self) -> None: ...
    def leave(self) -> None: ...
