"""Any order of the same items gives the same digest and the same tables (NEW-2).

Two catalogs of one namespace, an upgrade from one to the other, a delisting and a revocation;
reports of both, their erasures, erasures by strangers, and duplicates. A bundle that has to wait
for a record or a catalog is judged again when one arrives, as the swarm does it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aggregate_making as making
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methrics.aggregate.collect.ingest import to_batch
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.digest import combine, digests
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import pack, pack_notice
from methrics.schema.wire.envelope import split
from methrics.schema.wire.verdict import Reason

NOW = making.NOW
FIRST = making.catalog()
SECOND = making.catalog(extra=making.MORE_FIELDS, previous=FIRST)
TIMES = (NOW - 7200, NOW - 90_000)

BEGUN = making.record(FIRST, time=NOW - 5000)
UPGRADED = making.record(FIRST, SECOND, time=NOW - 4000, previous=[split(BEGUN).id])
DELISTED = making.record(
    FIRST,
    SECOND,
    time=NOW - 3000,
    previous=[split(UPGRADED).id],
    delisted={FIRST.id: NOW + 30 * making.DAY},
    revoked={"clicks": NOW - 7200},
)
NOTICES = [BEGUN, UPGRADED, DELISTED, FIRST.raw, SECOND.raw, making.announcement(NOW - 1200)]

OLD_REPORTS = [
    *(making.beat(FIRST, i, TIMES[i % 2]) for i in range(4)),
    *(making.clicks(FIRST, i) for i in range(2)),
]
NEW_REPORTS = [making.walk(SECOND, i) for i in range(3)]
OLD = [
    *OLD_REPORTS,
    making.erasure(FIRST, OLD_REPORTS[0], "beat", 0, TIMES[0]),
    making.erasure(FIRST, OLD_REPORTS[1], "someone else", 1, TIMES[1]),
    making.erasure(FIRST, OLD_REPORTS[2], "beat", 2, TIMES[1]),  # of another day
]
NEW = [*NEW_REPORTS, making.erasure(SECOND, NEW_REPORTS[2], "walk", 2)]

Message = tuple[bytes, tuple[bytes, ...]]
"""The catalog that a bundle is about, and its items; a notice has no catalog."""

TABLES = {
    "item": "kind, time, id, raw",
    "record": "key, time, expires, previous, id, raw",
    "listing": "catalog, listed, delisted",
    "revoked": "type, time, reason",
    "test.beat": "day, time, one_in, version, os, daily, age",
    "test.clicks": "day, time, one_in, count, button",
    "test.walk": "day, time, one_in, variant",
    "test.walk_step": "i, step, offset_bucket",
    "tombstone": "report, day, id, raw",
}


class Node:
    """An aggregator without a network: what must wait is judged again after each notice."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.book, self.seen = CatalogBook({FIRST.topic}), Seen(1000)
        self.waiting: list[bytes] = []

    def hear(self, bundle: bytes) -> None:
        verdict = judge_bundle(bundle, self.book, NOW, self.seen, topic=FIRST.topic)
        assert verdict.decision != 2, verdict
        if verdict.waits_for is not None:
            self.waiting.append(bundle)
            return
        done = self.store.commit(to_batch([verdict], NOW))
        if done.records or done.catalogs:
            waited, self.waiting = self.waiting, []
            for one in waited:
                self.hear(one)


def contents(messages: Sequence[Message]) -> dict[str, Any]:
    """Digests and tables of a new file after these messages, each in one commit."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.duckdb")
        with Store(file) as store:
            node = Node(store)
            for about, items in messages:
                node.hear(pack(about, items) if about else pack_notice(items[0]))
            assert node.waiting == []
        with open_dataset(file) as dataset:
            assert verify(dataset).mismatches == []
            present = dataset.tables()
            found: dict[str, Any] = {
                table: dataset.rows(f"SELECT {columns} FROM {table} ORDER BY ALL")
                if table in present
                else []
                for table, columns in TABLES.items()
            }
            found["digest"] = combine(digests(dataset.connection))
            refused = dataset.rows("SELECT DISTINCT reason FROM refusal")
            assert {reason for (reason,) in refused} <= {Reason.DUPLICATE, Reason.REVOKED}
        return found


IN_ORDER: list[Message] = [
    *((b"", (raw,)) for raw in NOTICES),
    (FIRST.id, tuple(OLD)),
    (SECOND.id, tuple(NEW)),
]
EXPECTED = contents(IN_ORDER)


def test_the_expected_end_is_the_right_one() -> None:
    assert EXPECTED["digest"][0].count == 5
    assert len(EXPECTED["item"]) == 6  # with the announcement
    assert len(EXPECTED["tombstone"]) == 4
    assert EXPECTED["test.clicks"] == []
    assert len(EXPECTED["test.beat"]) == 3


def _cut(about: bytes, items: list[bytes], sizes: list[int]) -> list[Message]:
    found = []
    for size in sizes:
        part, items = items[:size], items[size:]
        if part:
            found.append((about, tuple(part)))
    return [*found, (about, tuple(items))] if items else found


@st.composite
def arrivals(draw: st.DrawFn) -> list[Message]:
    """All items, some twice, in any order and in bundles of any size."""
    sizes = st.lists(st.integers(1, 5), max_size=8)
    parts = [
        *_cut(FIRST.id, draw(st.permutations([*OLD, *OLD[:3]])), draw(sizes)),
        *_cut(SECOND.id, draw(st.permutations([*NEW, *NEW[:2]])), draw(sizes)),
        *((b"", (raw,)) for raw in [*NOTICES, BEGUN, SECOND.raw]),
    ]
    return draw(st.permutations(parts))


@pytest.mark.shows("NEW-2", "NEW-3")
@settings(max_examples=12)
@given(arrivals())
def test_every_order_and_every_cut_into_batches_ends_the_same(messages: list[Message]) -> None:
    assert contents(messages) == EXPECTED
