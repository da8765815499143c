"""The lab's network of processes: apps, relays, an aggregator, and what is looked for in them."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.lab.namespaces import Host, Lab, Program
from tests.listing import record_of

from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.store.parts import directory_beside
from methrics.node.outbox.journal import Journal
from methrics.node.paths import namespace_of, user_paths
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.errors import StoreError
from methrics.schema.wire.envelope import split

SEED = b"l" * 32
SOURCE = """
[catalog]
label = "lab"
contact = "https://example.org"
[types.click]
kind = "event"
question = "Does anything get lost?"
why = "Shows that nothing gets lost."
owner = "Tests"
review = "https://example.org/review"
expires = 2099-01-01
retention_days = 30
entropy_bits = 20
chart = "line"
[types.click.release]
delay = 300
jitter = 0
[types.click.fields.serial]
type = "count"
max = 65535
says = "A number that only this test uses."
"""
RAW = sign(parse_source(SOURCE), SEED)
CATALOG = load(RAW)
NAMESPACE = namespace_of(CATALOG.label, CATALOG.short_key)

PORT = 4001
METHRICS = [sys.executable, "-m", "methrics.aggregate"]


class Scene:
    """The processes of a lab. Each host has its files in its folder."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._catalog, self._record = lab.folder / "lab.cbor", lab.folder / "lab.record"
        self._catalog.write_bytes(RAW)
        self._record.write_bytes(record_of(CATALOG, seed=SEED).raw)

    def serve(self, host: Host, *arguments: str) -> Program:
        """Start a service of the `methrics` command; returns it once it listens."""
        listen = f"/ip6/{host.address}/tcp/{PORT}"
        given = ["--catalog", str(self._catalog), "--record", str(self._record)]
        program = host.start(
            arguments[0],
            [*METHRICS, *arguments, "--listen", listen, "--json", *given],
            METHRICS_HOME=str(host.folder / "home"),
        )
        program.wait_for(r'"listening"')
        return program

    def aggregate(self, host: Host, *options: str) -> Program:
        """Start an aggregator that stores in `collected.duckdb`."""
        file = str(host.folder / "collected.duckdb")
        return self.serve(host, "aggregate", file, "--export-every", "0.5s", *options)

    def relay(self, host: Host, *options: str) -> Program:
        """Start a relay that publishes what it has at once."""
        return self.serve(
            host, "relay", "--rest", "0s", "--spread", "0s", "--batch-window", "0.3s", *options
        )

    def app(self, host: Host, relays: Iterable[str], first: int, count: int) -> Program:
        """Start an app that records and publishes `count` events."""
        program = [sys.executable, str(Path(__file__).with_name("app.py"))]
        return host.start(
            "app",
            [*program, str(host.folder / "home"), str(self._catalog), str(first), str(count)],
            METHRICS_RELAYS=" ".join(relays),
        )

    @staticmethod
    def address(host: Host, program: Program) -> str:
        """The multiaddress at which a service listens."""
        found = re.search(rf"/ip6/{host.address}/tcp/{PORT}/p2p/\w+", program.said())
        assert found is not None, program.said()
        return found[0]


def reports_of(host: Host) -> dict[str, bytes]:
    """The reports that an app has journaled: the exact bytes, by id in hexadecimal."""
    journal = Journal(user_paths(host.folder / "home").outbox(NAMESPACE))
    try:
        return {one.id.hex(): one.raw for one in journal.receipts()}
    finally:
        journal.close()


def stored(host: Host) -> set[str]:
    """The ids of the reports that the aggregator of a host has exported."""
    return stored_in(host.folder / "collected.duckdb")


def stored_in(file: Path) -> set[str]:
    """The ids of the reports that an aggregator has exported, in hexadecimal; each is there once.

    Raises AssertionError for a report that is there twice."""
    beside = directory_beside(file)
    if not beside.is_dir():
        return set()
    try:
        with open_dataset(beside) as data:
            rows = data.rows("SELECT id FROM item WHERE kind = 1")
    except StoreError:  # the first export is being written
        return set()
    found = Counter(bytes(row[0]).hex() for row in rows)
    assert set(found.values()) <= {1}, "stored twice"
    return set(found)


def contents_of(reports: Mapping[str, bytes]) -> dict[str, bytes]:
    """Parts of reports by which each would be recognised, by a name of the part."""
    found: dict[str, bytes] = {}
    for name, raw in reports.items():
        item = split(raw)
        found |= {
            f"id of {name}": item.id,
            f"id of {name} as text": name.encode(),
            f"key of {name}": item.key,
            f"signature of {name}": item.signature,
            f"values of {name}": item.payload,
        }
    return found


def files_with(folder: Path, patterns: Mapping[str, bytes]) -> set[str]:
    """Return `file: name` for each pattern that is in a file below `folder`."""
    return {
        f"{path.relative_to(folder)}: {name}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for data in [path.read_bytes()]
        for name, one in patterns.items()
        if one in data
    }
