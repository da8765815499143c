"""An install with real parts only: recorder, ledger, SQLite, journal, delivery and judge.

A test runs the same acts on it and on the install in memory, and compares the reports that leave.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import trio
from tests.listing import record_of

import methrics.node
from methrics.aggregate.simulate.install import Departure, Fields, Install, Relay
from methrics.node.clock import Clock
from methrics.node.consent.ledger import grant
from methrics.node.outbox.erasures import Erasures
from methrics.node.outbox.handed import HandedBoxes
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.records import Records
from methrics.node.outbox.rows import Identity
from methrics.node.paths import namespace_of, user_paths
from methrics.node.process.worker import inline
from methrics.node.publish.delivery import Delivery
from methrics.node.publish.listing import Listing
from methrics.node.publish.permission import consent_of
from methrics.node.publish.results import PassResult
from methrics.node.publish.routes import Fate, Outcome, Outgoing, Route, outcome_of
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.example import example_seed
from methrics.schema.wire.verdict import Reason


class SeededJournal(Journal):
    """The real journal, with a seed that the test gives."""

    def __init__(self, path: str, seed: bytes, clock: Clock) -> None:
        super().__init__(path, clock=clock)
        self._seed = seed

    def identity(self, now: int) -> Identity:
        with mock.patch("methrics.node.outbox.journal.os.urandom", return_value=self._seed):
            return super().identity(now)


class RealInstall(Install):
    """A real install whose clock the test controls."""

    def __init__(
        self,
        home: Path,
        catalog: Catalog,
        *,
        seed: bytes,
        rng: random.Random,
        consent: Fields,
        time: int,
        skew: int,
        sampling: Mapping[str, int],
        relay: Relay,
    ) -> None:
        self._paths = user_paths(home, policy=str(home / "policy.json"))
        self._namespace = namespace_of(catalog.label, catalog.short_key)
        for name, fields in consent.items():
            grant(self._paths, self._namespace, (name,), fields=fields, now=time)
        super().__init__(
            catalog,
            seed=seed,
            rng=rng,
            consent=consent,
            time=time,
            skew=skew,
            sampling=sampling,
            relay=relay,
        )
        self.record = record_of(catalog, seed=example_seed())
        self.disk = SeededJournal(self._paths.outbox(self._namespace), seed, self.clock)
        self.journal = self.disk
        self._delivery = Delivery(
            self.disk,
            Erasures(self.disk),
            HandedBoxes(self.disk),
            Listing(Records(self.disk), lambda: 1, self.clock),
            consent_of(self._paths, self._namespace, "relay", self.clock),
            self._route,
            "relay",
            clock=self.clock,
            rng=rng,
            worker=inline,
            entropy=bytes,
        )

    name = "relay"

    def _start(self, settings: RecorderSettings) -> Recorder:
        return methrics.node.open(
            self.catalog.raw,
            app_version=settings.app_version,
            home=self._paths.home,
            policy=self._paths.policy,
            sampling=settings.sampling,
            strict=True,
            clock=self.clock,
            rng=self.rng.random,
        )

    def _stop(self, app: Recorder) -> None:
        app.close()
        self.retire(app)

    def nudge(self) -> None:
        # Before the first row there is no file, and a query must not create one.
        if self.disk.exists():
            super().nudge()

    def publish(self, done: PassResult) -> None:
        found = trio.run(self._delivery.publish_due)
        assert found.failed is None
        done.made, done.acknowledged = found.made, found.acknowledged
        done.struck, done.postponed = found.struck, found.postponed

    @asynccontextmanager
    async def _route(self) -> AsyncIterator[Route]:
        yield self

    async def records(self, topic: str, known: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        return [(self.record.raw,)]

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        await outgoing.leave([item_id for item_id, _ in outgoing.items])
        receipts = {receipt.id: receipt for receipt in self.disk.receipts(state="due")}
        said = {}
        for item_id, raw in outgoing.items:
            receipt = receipts[item_id]
            assert receipt.raw == raw
            reason = self._relay(receipt, self.catalog.types[receipt.type], self.time)
            said[item_id] = outcome_of(reason)
            if said[item_id].fate is Fate.ACKNOWLEDGED:
                # The real journal counts an attempt before it sends; the one in memory after.
                made = replace(receipt, attempts=0)
                self.sent.append(Departure(time=self.time, receipt=made))
            elif said[item_id].fate is Fate.REFUSED:
                made = replace(receipt, attempts=0)
                self.refused.append(Departure(time=self.time, receipt=made, reason=reason))
        return said

    def end(self) -> None:
        """Closes the file."""
        self.close()
        self.disk.close()


def spawning(install: RealInstall) -> mock._patch[object]:
    """When the recorder would start a publisher, it starts the test's publisher."""

    def nudge(*_args: object, **_options: object) -> None:
        install.nudge()

    return mock.patch("methrics.node.publish.spawn.nudge", nudge)


__all__ = ["RealInstall", "Reason", "spawning"]
