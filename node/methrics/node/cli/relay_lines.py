"""Prints what a relay says while it runs: its addresses, counts, and the records that it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from methrics.node.cli.log import Log
from methrics.node.clock import Clock
from methrics.node.durations import duration_text
from methrics.node.network.connected import connectivity_line
from methrics.node.network.swarm import Swarm
from methrics.node.relay.given import Reloaded, reloaded_lines, reloaded_values
from methrics.node.relay.record_state import record_states
from methrics.node.relay.relay import Relay
from methrics.node.relay.settings import RelaySettings
from methrics.schema.judging.book import CatalogBook


class RelayLines:
    """Prints lines of text, or JSON objects if `as_json`. They contain no address of a peer and no
    key of a report."""

    def __init__(
        self, settings: RelaySettings, book: CatalogBook, clock: Clock, *, as_json: bool
    ) -> None:
        self.log = Log(clock, as_json=as_json)
        self._settings = settings
        self._book = book
        self._clock = clock
        self._as_json = as_json
        self._said: frozenset[str] = frozenset()
        self._told: list[dict[str, object]] = []

    def listening(self, addrs: tuple[str, ...]) -> None:
        """Say where the relay listens, and what it carries."""
        topics, rest = self._settings.topics, self._settings.mix.rest
        if self._as_json:
            records = self._told_records()
            self.log.event("listening", addrs=addrs, topics=topics, rest=rest, records=records)
            return
        for addr in addrs:
            self.log.text(f"listening on {addr}")
        for topic in topics:
            self.log.text(f"carrying {topic}")
        if rest:
            window = duration_text(self._settings.mix.batch_window)
            self.log.text(
                f"each report rests for up to {duration_text(rest)} and leaves at a random moment "
                f"(to try things out, --rest 0s: it leaves within {window})"
            )
        self._say_states()

    def connectivity(self, connected: int) -> None:
        """Say how many peers are connected."""
        self.log.event("peers", connected=connected)
        self.log.text(connectivity_line(connected))

    def doors(self, address: str) -> None:
        """Say at which address the HTTP doors are."""
        self.log.text(f"doors over HTTP at {address}")
        if not any("://" in one for one in self._settings.announce):
            self.log.text(
                "who uses this relay by a URL cannot tell it from an exit: give the URL, too, by "
                "--announce https://..."
            )
        self.log.event("doors", address=address)

    def changes(self) -> None:
        """Say what has changed about records and catalogs, if anything has."""
        if not self._as_json:
            self._say_states()
        elif self._records() != self._told:
            self.log.event("records", records=self._told_records())

    def reloaded(self, done: Reloaded) -> None:
        """Say what reading the files of the operator again has changed."""
        for line in reloaded_lines(done):
            self.log.text(line)
        self.log.event("reloaded", **reloaded_values(done))

    def counts(self, running: Relay, swarm: Swarm, event: str = "counts") -> None:
        """Say the counts since the start, and what has changed about records and the clock."""
        counts, traffic = running.statistics, swarm.statistics()
        values = {
            "pooled": running.pooled,
            "published": counts.published,
            "bundles": counts.bundles,
            "elsewhere": counts.elsewhere,
            "waiting": traffic.waiting,
            "unlisted": counts.unlisted,
            "quota": counts.quota,
            **running.doors.counts(),
        }
        if self._as_json:
            skew = counts.skew and {"behind": counts.skew.behind, "seconds": counts.skew.seconds}
            counted = {"answers": dict(counts.answers), "gossip": dict(counts.gossip)}
            more = {"clock": skew, "records": self._told_records(), "swarm": asdict(traffic)}
            self.log.event(event, **values, **counted, **more)
            return
        words = ", ".join(f"{name} {value}" for name, value in values.items())
        self.log.text(f"{event}: {words}")
        if counts.skew is not None:
            self.log.text(f"clock: {counts.skew}")
        self._say_states()

    def _records(self) -> list[dict[str, object]]:
        now = self._clock.now()
        states = record_states(self._book, self._settings.topics)
        return [asdict(state) | {"warning": state.warning(now)} for state in states]

    def _told_records(self) -> list[dict[str, object]]:
        self._told = self._records()
        return self._told

    def _say_states(self) -> None:
        """Say the state of each record and catalog, if it is not what was said last."""
        lines = [*self._state_lines()]
        for line in lines:
            if line not in self._said:
                self.log.text(line)
        self._said = frozenset(lines)

    def _state_lines(self) -> Iterator[str]:
        now, book = self._clock.now(), self._book
        for state in record_states(book, self._settings.topics):
            yield state.line(now)
        for catalog in book:
            if book.records.newest(catalog.key) is not None and not book.lists(catalog):
                short = catalog.id.hex()[:16]
                yield f"catalog {short} is not in the record of {catalog.topic}; it is not used"
