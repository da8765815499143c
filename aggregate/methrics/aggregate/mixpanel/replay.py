"""Replays an export: each distinct_id becomes an install, whose reports are stored in a data set.

Every event goes through the consumer of the bridge into a real recorder. The real code makes,
signs, judges and stores the reports (`simulate.install`). All machines stay on, all people agree
and no report is lost, so any difference from Mixpanel comes from different definitions.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import chain, groupby
from pathlib import Path

from methrics.aggregate.mixpanel.activity import Plan
from methrics.aggregate.simulate.install import Install
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.duck import Connection
from methrics.aggregate.store.store import Store
from methrics.node.bridges.mixpanel import Consumer, Steps
from methrics.node.record.plan import TypePlan
from methrics.schema.catalog.catalog import load
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import accept
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import sign_record

SEED = sha256(b"the published key of comparisons").digest()
"""The namespace key of catalogs and records that are used only for a comparison."""

IDLE = 1800
"""The app ends after this many seconds without an event. Mixpanel then starts a new session."""
AFTERWARDS = 7 * 86_400
"""Seconds that a machine stays on after its last event, so that all of its reports are sent."""
TOGETHER = 5000
"""Number of reports in one commit."""
STUCK = 3600
"""Seconds to wait before the next attempt if reports that are due could not be sent."""

_EVENTS = """
SELECT person, time, event, raw FROM did WHERE person IS NOT NULL ORDER BY person, time, n
"""

Event = tuple[int, int, str, str]
"""(person, time, name, declared properties as JSON)"""


def replay(
    con: Connection, how: Plan, file: Path, *, seed: int = 1, tell: Callable[[int], object]
) -> Counter[str]:
    """Write the reports of all people to the new DuckDB `file`.

    The catalog is signed with `SEED`, because reports need a record of its namespace. Returns how
    many events the bridge dropped or left out, by reason. `tell` is called for each person. Raises
    StoreError.
    """
    payload = split(how.catalog.raw).payload
    how = how._replace(catalog=load(seal(Kind.CATALOG, payload, SEED)))
    steps = _sequences(con, how)
    dropped: Counter[str] = Counter()
    plans: dict[str, dict[str, TypePlan]] = {}
    book, waiting = CatalogBook(), list[bytes]()
    with Store(file) as store:
        first = accept(how.catalog.raw, book, 0, live=False)
        book.add(how.catalog, given=True)
        listed = sign_record([how.catalog.id], SEED, time=0, expires=TIME_MAX)
        record = accept(listed.raw, book, 0, live=False)
        learn(record, book)
        store.commit(Batch(0, [record, first]))
        for number, (_, events) in enumerate(groupby(_read(con), key=lambda one: one[0])):
            rng = random.Random(f"{seed}/{number}")
            waiting += _live(events, how, steps, rng, plans, dropped)
            if len(waiting) >= TOGETHER:
                _commit(store, book, waiting)
                waiting = []
            tell(number + 1)
        _commit(store, book, waiting)
    return dropped


def _read(con: Connection) -> Iterator[Event]:
    found = con.execute(_EVENTS)
    while rows := found.fetchmany(10_000):
        yield from rows


def _sequences(con: Connection, how: Plan) -> dict[str, Steps]:
    """Find the events whose names make them steps of declared sequences."""
    rows = con.execute("SELECT DISTINCT step, event FROM did WHERE step IS NOT NULL").fetchall()
    made = {}
    for one in how.sequences:
        assert one.sequence is not None
        order = {step: place for place, step in enumerate(one.sequence.steps)}
        own = sorted((order[step], event, step) for step, event in rows if step in order)
        if own:
            made[one.name] = Steps({event: step for _, event, step in own}, timeout=IDLE)
    return made


def _live(
    events: Iterator[Event],
    how: Plan,
    steps: dict[str, Steps],
    rng: random.Random,
    plans: dict[str, dict[str, TypePlan]],
    dropped: Counter[str],
) -> list[bytes]:
    """Run one install, and return its reports."""
    first = next(events)
    install = Install(
        how.catalog,
        seed=rng.randbytes(32),
        rng=rng,
        consent=dict.fromkeys(how.catalog.types),
        time=first[1],
        plans=plans,
    )
    signs = [one.name for one in how.signs]
    consumer: Consumer | None = None
    before = 0
    for _, time, event, raw in chain([first], events):
        if consumer is None or time - before > IDLE:
            _close(install, consumer, dropped)
            _pass_time(install, time)
            consumer = Consumer(install.open(), sequences=steps, active=signs, facts=False)
        install.to(time)
        before = time
        # Values are JSON already; the message is the same as that of the official client.
        consumer.send("events", f'{{"event":{json.dumps(event)},"properties":{raw}}}')
    _close(install, consumer, dropped)
    _pass_time(install, before + AFTERWARDS)
    return [one.receipt.raw for one in install.sent]


def _close(install: Install, consumer: Consumer | None, dropped: Counter[str]) -> None:
    """End the app, and add the events that it dropped to `dropped`."""
    install.close()
    if consumer is not None:
        dropped.update(consumer.statistics().dropped)


def _pass_time(install: Install, until: int) -> None:
    """Keep the machine on until the time `until`, and publish whenever a report is due."""
    sent = -1
    while (due := install.journal.next_due()) is not None and due <= until:
        wait = 61 if len(install.sent) > sent else STUCK
        sent = len(install.sent)
        install.to(min(until, max(due, install.time + wait)))
        if install.time >= until:
            break
        install.nudge()
        install.to(install.time)
    install.to(until)


def _commit(store: Store, book: CatalogBook, items: Iterable[bytes]) -> None:
    store.commit(Batch(0, [accept(raw, book, 0, live=False) for raw in items]))
