"""People with reports of their own: real receipts, real keys, in a home of their own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import aggregate_making as making

from methrics.node.clock import ManualClock
from methrics.node.outbox.erasures import Erasures
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import ACKNOWLEDGED, Receipt
from methrics.node.paths import namespace_of, user_paths
from methrics.node.report.erasure import sign_all
from methrics.node.report.identity import NO_SALT, report_seed
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report


class Person:
    """One person's outbox of the app `of`."""

    def __init__(self, home: Path, of: Catalog) -> None:
        self.home = home
        self.catalog = of
        self.namespace = namespace_of(of.label, of.short_key)
        path = user_paths(home).outbox(self.namespace)
        self.journal = Journal(path, clock=ManualClock(making.NOW))
        self.number = self.journal.keep_catalog(of.id, of.raw)

    def send(self, times: Sequence[int], state: str | None = ACKNOWLEDGED) -> list[Receipt]:
        """Reports of these times that have left; with `state` None they wait to leave."""
        made = []
        known = self.journal.identity(making.NOW)
        for index, time in enumerate(times, known.next_index):
            values: dict[str, object] = {"os": "linux", "daily": bool(index % 2)}
            payload = encode_report(Report(self.catalog.id, "beat", time, values))
            raw = seal(Kind.REPORT, payload, report_seed(known.seed, index, NO_SALT))
            made.append(
                Receipt(
                    key_index=index,
                    salt=NO_SALT,
                    id=split(raw).id,
                    raw=raw,
                    catalog=self.number,
                    type="beat",
                    time=time,
                    made=time,
                    due=time,
                    route="relay",
                )
            )
        self.journal.journal(made, [], [], token=self.journal.pending(0).token)
        if state is not None:
            self.journal.mark([one.key_index for one in made], state)
        indices = {one.key_index for one in made}
        return [one for one in reversed(self.journal.receipts()) if one.key_index in indices]

    def erase(self, receipts: Sequence[Receipt]) -> list[bytes]:
        """The erasures of these reports, journaled."""
        erasures = Erasures(self.journal)
        signed = sign_all(
            receipts, erasures.seed_of, now=making.NOW, window=0, rng=random.Random(1).random
        )
        erasures.request(signed, making.NOW)
        return [one.raw for one in signed]
