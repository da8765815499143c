"""Makes a sample data set of the demo's people, without any network.

    python -m methrics.aggregate.demo.sample FILE.duckdb

Recorder, consent, publisher and judge are the real ones; only the network between publisher and
file is left out. The documentation's examples use it, and it is useful for trying out SQL.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

import methrics.node
from methrics.aggregate.demo.app import PUBLISH_AT, TYPES, play
from methrics.aggregate.simulate.story import DAY, person
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock, ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.paths import user_paths
from methrics.node.publish.entry import Entry
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.publish.routes import Outcome, Outgoing, Route, outcome_of
from methrics.schema.errors import LocalError
from methrics.schema.example import example_bytes, example_catalog, example_seed
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import accept
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import sign_record
from methrics.schema.wire.verdict import Reason


class Basket:
    """A route that stores every report in a list instead of sending it.

    `record`: the namespace record that it tells; by default one that always lists the example
    catalog.
    """

    name = "relay"

    def __init__(self, record: bytes = b"") -> None:
        self.items: list[bytes] = []
        self._record = record or _example_record(1, TIME_MAX).raw

    async def records(self, topic: str, known: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        """Return the record that lists the example catalog."""
        return [(self._record,)]

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        """Store all reports that may leave, and accept each."""
        going = await outgoing.leave([item_id for item_id, _ in outgoing.items])
        self.items += [raw for item_id, raw in outgoing.items if item_id in going]
        return {item_id: outcome_of(Reason.OK) for item_id in going}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Route]:
        """Open this route. A publisher calls it in place of connecting to the network."""
        yield self


def write_sample(file: Path, *, people: int = 24, days: int = 14, today: int | None = None) -> int:
    """Write a new DuckDB file with the use of an app by `people` installs on the `days` days before
    `today` (a midnight in Unix seconds; by default the last midnight).

    Returns the number of reports in the file.
    Raises StoreError if `file` cannot be written.
    """
    start = (Clock().now() if today is None else today) // DAY * DAY
    began = start - days * DAY
    listed = _example_record(began, start + DAY)
    basket = Basket(listed.raw)
    with tempfile.TemporaryDirectory() as homes:
        trio.run(_live, Path(homes), people, days, start, basket)
    book = CatalogBook()
    catalog = accept(example_bytes(), book, start, live=False)
    book.add(example_catalog(), given=True)
    record = accept(listed.raw, book, start, live=False)
    learn(record, book)
    reports = [accept(raw, book, start, live=False) for raw in basket.items]
    with Store(file) as store:
        return store.commit(Batch(start, [record, catalog, *reports])).reports


def _example_record(time: int, expires: int) -> Item:
    return sign_record([example_catalog().id], example_seed(), time=time, expires=expires)


async def _live(homes: Path, people: int, days: int, today: int, basket: Basket) -> None:
    settings = PublisherSettings(entry=Entry(relays=("/p2p/none",)), once=True)
    for number in range(1, people + 1):
        who = person(number, today=today, days=days)
        paths = user_paths(homes / str(number))
        rng = random.Random(number)
        clock = ManualClock(today - days * DAY)
        recorder = methrics.node.open(
            example_bytes(),
            app_version=who.version,
            home=paths.data,
            publisher="none",
            clock=clock,
            rng=rng.random,
            environment="production",
        )
        grant(paths, recorder.namespace, TYPES, now=clock.now())
        with recorder:
            for visit in who.visits:
                play(recorder, who, visit, clock)
                clock.advance(clock.now() // DAY * DAY + PUBLISH_AT - clock.now())
                await run_publisher(
                    paths,
                    recorder.namespace,
                    settings,
                    clock=clock,
                    rng=rng,
                    open_route=basket.open,
                )


def main(arguments: Sequence[str]) -> str:
    """Write the file named in `arguments`, unless it exists, because it could contain real data.

    Returns the line to print: how many reports were written, or that the file exists. Raises
    SystemExit if `arguments` is not exactly one file name.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise SystemExit("usage: python -m methrics.aggregate.demo.sample FILE.duckdb")
    file = Path(arguments[0])
    if file.exists():
        return f"{file} is there already, and was left as it is\n"
    try:
        return f"wrote {file}: {write_sample(file)} reports\n"
    except LocalError as error:
        raise SystemExit(f"sample: {error}") from error


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]))
