"""Keeps the record by which one outbox's reports leave, and looks for a newer one at each pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from methrics.node.backoff import Backoff
from methrics.node.clock import Clock, Rng
from methrics.node.outbox.records import ONE_RELAY, Kept, Records
from methrics.node.outbox.rows import Receipt
from methrics.node.process.worker import Worker
from methrics.node.publish.routes import Route
from methrics.node.publish.standing import RELAYS_NEEDED, WORDS, agree, lasting, waits
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.wire.topic import parse_topic

PAUSES = Backoff(300, 6 * 3600)
"""Seconds until the relays are asked for a newer record again, if reports wait for one: five
minutes at first, doubled with each time in a row up to six hours."""


class Listing:
    """What the record of one namespace says about the reports in its outbox.

    `relays`: returns how many relays or peers can be asked; it is called after they were.
    """

    def __init__(self, records: Records, relays: Callable[[], int], clock: Clock) -> None:
        self._records = records
        self._relays = relays
        self._clock = clock
        self._kept = Kept()
        self.heard = False
        """Whether a relay or peer answered in the last look."""

    @property
    def _needed(self) -> int:
        return min(max(self._relays(), 1), RELAYS_NEEDED)

    @property
    def agreed(self) -> tuple[bytes, ...]:
        """The exact bytes of the records, to hand to a relay that lacks them; none unless two
        relays agreed on them. A record that one relay made for this person would tell that relay
        who comes back."""
        several = min(self._needed, self._kept.relays) >= RELAYS_NEEDED
        return self._kept.raws if several else ()

    def load(self) -> None:
        """Read what is kept. Raises StoreError."""
        self._kept = self._records.load()

    async def look(self, route: Route, topic: str, worker: Worker) -> None:
        """Ask the relays of `route` for their records, and keep what they agree on. What fewer
        relays say counts for this pass alone. Raises StoreError."""
        before, heard = self._kept, await route.records(topic, self.agreed)
        self.heard = bool(heard)
        now, short = self._clock.now(), parse_topic(topic)[1]
        self._kept = agree(before, heard, short, now=now, needed=self._needed)
        kept = lasting(before, self._kept, needed=self._needed)
        await worker(lambda: self._records.save(kept))

    def waits(self, receipt: Receipt, catalog: Catalog | None) -> str:
        """Return why a report may not leave now, "" if it may."""
        event_type = catalog.types.get(receipt.type) if catalog is not None else None
        resolution = event_type.resolution if event_type is not None else 0
        return waits(
            self._kept,
            b"" if catalog is None else catalog.id,
            receipt.time,
            resolution,
            now=self._clock.now(),
            needed=self._needed,
        )

    def revoked(self, receipt: Receipt) -> bool:
        """Return whether the owner has revoked the report's event type."""
        return self._kept.revoked(receipt.type, receipt.time) is not None

    def pause(self, rng: Rng) -> int:
        """Return the seconds until reports that wait for a record are tried again. Raises
        StoreError."""
        return int(PAUSES.drawn(self._records.count_wait(), rng))

    def went(self) -> None:
        """Note that reports could leave. Raises StoreError."""
        self._records.forget_waits()

    @property
    def note(self) -> str:
        """A note about the record for a person, "" if two relays agree on it."""
        return ONE_RELAY if self._kept.raws and self._kept.relays == 1 else ""


def waiting_words(waiting: Counter[str]) -> str:
    """Return a sentence about the reports that wait for a record, "" if none does."""
    if not waiting:
        return ""
    reason, _ = waiting.most_common(1)[0]
    total = sum(waiting.values())
    many = "report waits" if total == 1 else "reports wait"
    return f"{total} {many}: {WORDS[reason]}"
