"""Works on the tasks of a verification, in this process or in several at a time.

A third of the work needs Python's lock, so threads gain little beyond two; a process has a lock of
its own. Each is a new interpreter (`worker.py`), which imports nothing of the caller's program. It
starts in a second, so a small data set is verified here.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue

from methrics.aggregate.read.check_rows import Opening, Result, RowChecker, Task
from methrics.schema.errors import MethricsError, StoreError


def work(opening: Opening, tasks: Sequence[Task], processes: int) -> Iterator[tuple[Task, Result]]:
    """Yield each task with its result, in any order.

    Raises what `RowChecker` raises, and StoreError store-broken if a process ends early.
    """
    if processes <= 1 or len(tasks) <= 1:
        yield from _here(opening, tasks)
        return
    workers: list[_Worker] = []
    idle: SimpleQueue[_Worker] = SimpleQueue()

    def check(task: Task) -> tuple[Task, Result]:
        worker = idle.get()
        try:
            return task, worker.check(task)
        finally:
            idle.put(worker)

    with ThreadPoolExecutor(min(processes, len(tasks)), thread_name_prefix="verify") as pool:
        try:
            for _ in range(min(processes, len(tasks))):
                workers.append(_Worker(opening))
                idle.put(workers[-1])
            for done in as_completed([pool.submit(check, task) for task in tasks]):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.close()


def _here(opening: Opening, tasks: Sequence[Task]) -> Iterator[tuple[Task, Result]]:
    checker = RowChecker(opening)
    try:
        for task in tasks:
            yield task, checker.check(task)
    finally:
        checker.close()


class _Worker:
    """A process that works on one task at a time."""

    def __init__(self, opening: Opening) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "methrics.aggregate.read.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._send(opening)

    def _send(self, what: Opening | Task) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(what, self._process.stdin)
            self._process.stdin.flush()
        except OSError as error:
            raise _ended() from error

    def check(self, task: Task) -> Result:
        """Wait for the result of a task."""
        self._send(task)
        assert self._process.stdout is not None
        try:
            found = pickle.load(self._process.stdout)  # it is our own process
        except (EOFError, pickle.UnpicklingError, OSError) as error:
            raise _ended() from error
        if isinstance(found, MethricsError):
            raise found
        assert isinstance(found, Result)
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with self._process:
            pass


def _ended() -> StoreError:
    return StoreError(
        "store-broken", "a process that verified rows ended early", "use --processes 1 to see why"
    )
