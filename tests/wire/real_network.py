"""A relay and an aggregator as processes on loopback, and queries of the aggregator's store."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from tests.listing import record_of

from methrics.aggregate.read.dataset import open_dataset
from methrics.schema.catalog.catalog import load
from methrics.schema.errors import StoreError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PLUGIN = EXAMPLES / "pytest_plugin"
EXAMPLES_SEED = hashlib.sha256(b"the published key of the examples").digest()
"""The seed of the key that signs the examples, as in docs/examples/sign.py."""

LISTEN = "/ip4/127.0.0.1/tcp/0"
ADDRESS = re.compile(r"/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+")
URL = re.compile(r"https?://127\.0\.0\.1:\d+/")
METHRICS = [sys.executable, "-m", "methrics.aggregate"]


def wait_until(what: str, look: Callable[[], object], seconds: float = 60) -> None:
    """Return once `look()` is true; fail, naming `what`, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"did not {what} within {seconds:.0f} s"
        time.sleep(0.05)


def environment(**changes: str) -> dict[str, str]:
    """The environment of this process; conftest.py has removed variables that turn metrics off."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **changes}


class Service:
    """A process of the `methrics` command that listens; its output goes to a file."""

    def __init__(self, folder: Path, name: str, arguments: Sequence[str]) -> None:
        self._log = folder / f"{name}.log"
        env = {key: value for key, value in os.environ.items() if not key.startswith("METHRICS")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*METHRICS, name, "--listen", LISTEN, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env | {"PYTHONUNBUFFERED": "1", "METHRICS_HOME": str(folder / "home")},
            )
        try:
            wait_until(f"listen ({self._log.name})", self._listens)
        except BaseException:
            self.kill()
            raise

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.said()
        return ADDRESS.search(self.said()) is not None

    def said(self) -> str:
        """The output of the process so far."""
        return self._log.read_text("utf-8", errors="replace")

    @property
    def address(self) -> str:
        """The multiaddress where the process listens, with its peer id."""
        found = ADDRESS.search(self.said())
        assert found is not None
        return found[0]

    def stop(self) -> None:
        """Send SIGINT, as Ctrl-C does; the process stores or publishes its pending items."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            assert self.process.wait(60) == 0, self.said()

    def kill(self) -> None:
        """Kill the process at once."""
        self.process.kill()
        self.process.wait()


class RealNetwork:
    """`relay` takes reports of `catalogs`, which a record of the key of `seed` lists; what it
    publishes is stored in `file`. `options`: more options of the relay."""

    def __init__(
        self,
        folder: Path,
        catalogs: Sequence[Path] | None = None,
        seed: bytes = EXAMPLES_SEED,
        options: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._options = options
        self._catalogs = catalogs or (
            EXAMPLES / "app.cbor",
            PLUGIN / "pytest_census" / "catalog.cbor",
        )
        listed = [load(path.read_bytes()) for path in self._catalogs]
        self._record = folder / "catalogs.record"
        self._record.write_bytes(record_of(*listed, seed=seed).raw)
        self.file = folder / "collected.duckdb"
        self._services: list[Service] = []

    def __enter__(self) -> RealNetwork:
        known = [part for path in self._catalogs for part in ("--catalog", str(path))]
        known += ["--record", str(self._record)]
        try:
            collecting = [str(self.file), "--export-every", "0.5s", *known]
            self._services.append(Service(self._folder, "aggregate", collecting))
            mixing = ["--batch-window", "0.3s", "--rest", "0s", "--spread", "0s", *known]
            mixing += ["--peer", self._services[0].address, *self._options]
            self._services.append(Service(self._folder, "relay", mixing))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for service in reversed(self._services):
            service.kill()

    @property
    def relay(self) -> str:
        """The relay's address."""
        return self._services[1].address

    @property
    def relay_process(self) -> Service:
        """The relay's process."""
        return self._services[1]

    @property
    def record(self) -> bytes:
        """The record that the relay was started with."""
        return self._record.read_bytes()

    @property
    def url(self) -> str:
        """The address of the relay's HTTP doors, for which `options` has `--http 127.0.0.1:0`."""
        relay = self.relay_process
        wait_until("serve HTTP", lambda: URL.search(relay.said()))
        found = URL.search(relay.said())
        assert found is not None
        return found[0]

    def _resting(self) -> int:
        """Number of items that rest at the relay. A relay that is stopped publishes none early."""
        file = self._folder / "home" / "relay" / "rest.db"
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as con:
            (count,) = con.execute("SELECT count(*) FROM rest").fetchone()
            return int(count)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """The answer to `sql`, asked of the Parquet while the aggregator runs, then of its file.
        Nothing before its first export, and before the first report of an event type."""
        try:
            with open_dataset(self.file) as data:
                return data.rows(sql)
        except StoreError as error:
            untold = error.code == "query" and "does not exist" in error.message
            if untold or error.code in ("store-busy", "store-missing"):
                return []
            raise

    def stop(self) -> None:
        """Stop both, once every accepted report is published, so that it is stored."""
        wait_until("publish what rests", lambda: not self._resting())
        for service in reversed(self._services):
            service.stop()
