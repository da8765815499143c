"""Imports everything once and forks the processes that the harness kills.

    python -m tests.kills.host

Reads a JSON object per line: a job. Forks a child for it, and prints `pid N`, the lines of the
child, then `ended STATUS`. A child prints `in OPERATION` and `out OPERATION` around each operation
that is to be hit, and `ack ID...` when a commit has returned: then its items are on disk.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from tests.kills.jobs import JOBS

from methrics.aggregate.collect import reconciling
from methrics.aggregate.parquet import backup, export
from methrics.aggregate.restore import restore
from methrics.aggregate.store import store as store_module
from methrics.aggregate.store.store import Store
from methrics.schema.wire.envelope import Kind


def say(text: str) -> None:
    """Print a line at once, whatever happens then."""
    os.write(1, f"{text}\n".encode())


def marked(owner: Any, name: str, op_of: Callable[..., str]) -> None:
    """Announce the calls of a function for which `op_of` names an operation."""
    real: Callable[..., Any] = getattr(owner, name)

    def announced(*given: Any, **named: Any) -> Any:
        op = op_of(*given, **named)
        if not op:
            return real(*given, **named)
        say(f"in {op}")
        try:
            return real(*given, **named)
        finally:
            say(f"out {op}")

    setattr(owner, name, announced)


def acknowledge() -> None:
    """Let `Store.commit` print the ids of the items of a batch when they are on disk."""
    real = Store.commit

    def commit(self: Store, batch: Any) -> Any:
        done = real(self, batch)
        ids = [one.item.id.hex() for one in batch.accepted]
        for start in range(0, len(ids), 50):  # short lines are written whole
            say(" ".join(["ack", *ids[start : start + 50]]))
        return done

    Store.commit = commit  # type: ignore[method-assign]


def _commit_op(store: Store, batch: Any) -> str:
    erases = any(one.item.kind is Kind.ERASURE for one in batch.accepted)
    return "erasure" if erases else "ingest"


def instrument() -> None:
    """Announce every operation."""
    acknowledge()
    marked(Store, "commit", _commit_op)
    marked(store_module, "checkpoint", lambda con: "checkpoint")
    marked(export.Exporter, "export", lambda *_, **__: "export")
    marked(
        export.Exporter,
        "_write",
        lambda self, files, snapshot, group, write, now, change: "settle" if write.moves else "",
    )
    marked(Store, "change_parts", lambda self, change, now: "settle" if change.settled else "")
    marked(Store, "compact", lambda self, *_: "compaction")
    marked(Store, "expire", lambda self, now: "retention" if now // 86_400 != self._expired else "")
    marked(store_module, "migrate", lambda *_: "migration")
    marked(restore, "restore", lambda *_, **__: "import")
    marked(backup, "back_up", lambda *_, **__: "backup")
    session = reconciling.Reconciling._session

    async def announced(self: Any, *given: Any) -> Any:
        say("in reconcile")
        try:
            return await session(self, *given)
        finally:
            say("out reconcile")

    reconciling.Reconciling._session = announced  # type: ignore[method-assign]


def main() -> None:
    """Fork a child for each line."""
    instrument()
    say("ready")
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                say(f"pid {os.getpid()}")
                JOBS[job.pop("role")](say, **job)
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        say(f"ended {os.waitpid(child, 0)[1]}")


if __name__ == "__main__":
    main()
