"""Works on the tasks of a verification, in this process or in several at a time.

Judging a report takes Python's lock for a third of the time, so threads gain little beyond two;
processes have a lock each. They start in half a second, so a small data set is verified here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from methrics.aggregate.read.check_rows import Opening, Result, RowChecker, Task

_checker: list[RowChecker] = []
"""The checker of a worker process."""


def work(opening: Opening, tasks: Sequence[Task], processes: int) -> Iterator[Result]:
    """Yield the result of each task, in any order. Raises what `RowChecker` raises."""
    if processes <= 1 or len(tasks) <= 1:
        yield from _here(opening, tasks)
        return
    pool = ProcessPoolExecutor(
        min(processes, len(tasks)), get_context("spawn"), initializer=_begin, initargs=(opening,)
    )
    try:
        for done in as_completed([pool.submit(_check, task) for task in tasks]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _here(opening: Opening, tasks: Sequence[Task]) -> Iterator[Result]:
    checker = RowChecker(opening)
    try:
        yield from map(checker.check, tasks)
    finally:
        checker.close()


def _begin(opening: Opening) -> None:
    _checker.append(RowChecker(opening))


def _check(task: Task) -> Result:
    return _checker[0].check(task)
