"""A process of `verify`: gets an `Opening` and then tasks on standard input, and answers each.

`python -m methrics.aggregate.read.worker`, started by `workers.py`. Both ends are this program.
"""

from __future__ import annotations

import pickle
import sys
from contextlib import suppress

from methrics.aggregate.read.check_rows import Opening, RowChecker, Task
from methrics.aggregate.store.duck import translated_errors
from methrics.schema.errors import MethricsError


def main() -> None:
    """Answer tasks until the input ends."""
    checker: RowChecker | None = None
    opening = _next()
    assert isinstance(opening, Opening)
    with suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        while True:
            task = _next()
            assert isinstance(task, Task)
            try:
                with translated_errors(opening.attach or "the Parquet files"):
                    checker = checker or RowChecker(opening)
                    answer: object = checker.check(task)
            except MethricsError as error:
                answer = error
            pickle.dump(answer, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def _next() -> object:
    return pickle.load(sys.stdin.buffer)  # from our own parent process


if __name__ == "__main__":
    main()
