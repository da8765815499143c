"""Writes checked events to the outbox: rounds the time and draws when the report is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methrics.node.clock import Clock, Rng
from methrics.node.outbox.outbox import Outbox, catalog_number
from methrics.node.paths import Paths
from methrics.node.report.flags import period
from methrics.node.report.pacing import event_due

if TYPE_CHECKING:
    from methrics.node.outbox.interfaces import AppOutbox, Generations
    from methrics.schema.catalog.catalog import Catalog, EventType

LOOK_EVERY = 1.0
"""Seconds between two checks that the outbox file still exists."""

NUDGE_EVERY = 60.0
"""Seconds between two checks whether a publisher should be started."""


class Writer:
    """Writes rows for one catalog. A recorder makes it at the first event with consent."""

    def __init__(
        self,
        catalog: Catalog,
        paths: Paths,
        namespace: str,
        *,
        clock: Clock,
        rng: Rng,
        publisher: bool,
        relays: tuple[str, ...],
    ) -> None:
        self.outbox: AppOutbox = Outbox(paths.outbox(namespace), clock=clock)
        self._database: Generations = self.outbox.database
        self._catalog = catalog
        self._paths = paths
        self._namespace = namespace
        self._rng = rng
        self._publisher = publisher
        self._relays = relays
        self._generation = 0
        self._number = catalog_number(catalog.id)
        self._nudge_at = 0.0
        self.look_at = 0.0

    def keep_catalog(self) -> None:
        """Stores the catalog in the outbox. Must be called before the first row, and again when the
        file was opened again (after a fork, or because a damaged file was replaced). The second
        call may follow a row, because rows name the catalog by a number that never changes."""
        self.outbox.keep_catalog(self._catalog.id, self._catalog.raw)
        self._generation = self._database.generation

    def event(
        self,
        event_type: EventType,
        now: int,
        fields: bytes,
        one_in: int = 1,
        steps: bytes | None = None,
    ) -> bool:
        """Writes one event or sequence. Returns False if the outbox is full. Raises StoreError."""
        kept = self.outbox.append(
            self._number,
            event_type.name,
            now - now % event_type.resolution,
            event_due(event_type.release, now, self._rng),
            fields,
            one_in,
            steps,
        )
        if self._database.generation != self._generation:
            self.keep_catalog()
        return kept

    def count(self, event_type: EventType, now: int, fields: bytes, one_in: int, n: int) -> bool:
        """Adds `n` to the sum of the current time window. The sum's report is due after the window
        has ended. Raises StoreError."""
        window = event_type.window or event_type.resolution
        start = now - now % window
        due = event_due(event_type.release, start + window, self._rng)
        self.outbox.add(self._number, event_type.name, start, due, fields, n, one_in)
        if self._database.generation != self._generation:
            self.keep_catalog()
        return True

    def state(self, event_type: EventType, now: int, fields: bytes, one_in: int) -> bool:
        """Writes a state in place of one that waits for its report, or of one of the same period.
        Raises StoreError."""
        due = event_due(event_type.release, now, self._rng)
        time = now - now % event_type.resolution
        self.outbox.set_state(
            self._number, event_type.name, time, due, fields, one_in, period(event_type, time)
        )
        if self._database.generation != self._generation:
            self.keep_catalog()
        return True

    def look(self, monotonic: float) -> None:
        """Checks that the outbox file still exists; once a minute, also starts a publisher if a
        report is due. Called after a row was written. Raises StoreError."""
        self.look_at = monotonic + LOOK_EVERY
        self.outbox.check()
        if monotonic >= self._nudge_at:
            self._nudge_at = monotonic + NUDGE_EVERY
            self._nudge(inline=False)

    def close(self) -> None:
        """Starts a publisher if a report is due, and closes the file. Raises StoreError."""
        self._nudge(inline=True)
        self.outbox.close()

    def _nudge(self, *, inline: bool) -> None:
        if self._publisher:
            from methrics.node.publish.spawn import nudge

            nudge(self._paths, self._namespace, self.outbox, self._relays, inline=inline)
