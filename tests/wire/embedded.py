"""Runs the programs of docs/examples as a reader would, and reads their outbox."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from real_network import EXAMPLES, environment

from methrics.node.clock import Clock
from methrics.node.consent.ledger import grant
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import DAY
from methrics.node.outbox.rows import Receipt
from methrics.node.paths import Paths, namespace_of, user_paths
from methrics.node.process.lock import is_held
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.wire.codec import decode

CATALOG = load((EXAMPLES / "app.cbor").read_bytes())
NAMESPACE = namespace_of(CATALOG.label, CATALOG.short_key)

EARLIER = """
import runpy, sys, time
from methrics.node.clock import Clock
slow = int(sys.argv[1])
Clock.now = lambda self: int(time.time()) - slow
del sys.argv[:2]
if sys.argv[0] == "-m":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Code that runs an unchanged program with a clock that is slow by the given seconds."""


class Row(NamedTuple):
    """One waiting row of an outbox."""

    type: str
    values: dict[str, object]
    total: int | None


def agree(paths: Paths, catalog: Catalog = CATALOG, *, ago: int = 0) -> None:
    """Grant consent for everything in the catalog, now or `ago` seconds ago."""
    namespace = namespace_of(catalog.label, catalog.short_key)
    grant(paths, namespace, list(catalog.types), now=Clock().now() - ago)


def waiting(paths: Paths, namespace: str = NAMESPACE) -> list[Row]:
    """The recorded rows that are not yet reports. Creates no file."""
    journal = Journal(paths.outbox(namespace))
    if not journal.exists():
        return []
    try:
        rows = journal.pending(Clock().now() + 400 * DAY, 100_000).rows
    finally:
        journal.close()
    found = []
    for row in rows:
        values = decode(row.fields, limit=1024)
        assert isinstance(values, dict)
        found.append(Row(row.type, values, row.total))
    return found


def receipts(paths: Paths, namespace: str = NAMESPACE) -> list[Receipt]:
    """The rows that became reports."""
    journal = Journal(paths.outbox(namespace))
    if not journal.exists():
        return []
    try:
        return journal.receipts()
    finally:
        journal.close()


def publishing(paths: Paths, namespace: str = NAMESPACE) -> bool:
    """Whether a publisher runs."""
    return is_held(paths.publisher_lock(namespace))


def program(name: str, *arguments: str, earlier: int = 0) -> list[str]:
    """The command line of an example; `earlier`: seconds that its machine's clock is slow."""
    shift = ["-c", EARLIER, str(earlier)] if earlier else []
    return [sys.executable, "-W", "error", *shift, str(EXAMPLES / name), *arguments]


def run(command: Sequence[str], cwd: Path, *, given: str = "", **env: str) -> str:
    """Run a program with the input `given`, and return its output. Fails on an error or warning."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(**env),
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


class Running:
    """A program that runs until a signal stops it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> str:
        """The next line that it prints."""
        return _pipe(self.process.stdout).readline().strip()

    def say(self, text: str) -> None:
        """Write to it, and close its standard input."""
        _pipe(self.process.stdin).write(text)
        _pipe(self.process.stdin).close()

    def stop(self) -> str:
        """Send SIGTERM and return the rest of the output; fails on an error or warning."""
        self.process.terminate()
        out, err = _pipe(self.process.stdout).read(), _pipe(self.process.stderr).read()
        assert (self.process.wait(60), err) == (0, ""), out + err
        return out


@contextmanager
def running(command: Sequence[str], cwd: Path, **env: str) -> Iterator[Running]:
    """Start a program; kill it at the end of the block if it still runs."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=cwd, env=environment(**env), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def home(tmp_path: Path, name: str = "home") -> Paths:
    """The paths of a person's folder, which does not exist yet."""
    return user_paths(tmp_path / name)
