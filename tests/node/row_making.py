"""Puts waiting rows into an outbox, as a fold of spools does."""

from __future__ import annotations

from methrics.node.outbox.fold import _COUNTER, _EVENT, _STATE
from methrics.node.outbox.journal import Journal


class Rows:
    """Adds rows to the outbox of `journal`, with any due time (Unix seconds)."""

    def __init__(self, journal: Journal) -> None:
        self._database = journal.database

    def event(
        self,
        catalog: int,
        type_name: str,
        time: int,
        due: int,
        fields: bytes,
        one_in: int = 1,
        steps: bytes | None = None,
    ) -> None:
        self._database.execute(_EVENT, (catalog, type_name, time, due, one_in, fields, steps))

    def count(
        self, catalog: int, type_name: str, window: int, due: int, fields: bytes, n: int
    ) -> None:
        self._database.execute(_COUNTER, (catalog, type_name, window, due, 1, fields, n))

    def state(
        self, catalog: int, type_name: str, time: int, due: int, fields: bytes, period: int = 0
    ) -> None:
        self._database.execute(_STATE, (catalog, type_name, period, time, due, 1, fields))
