"""Prints the log of a long-running command: one line for each event, with the time in UTC.

Nothing else may be printed meanwhile. So what Python's own `logging` and `warnings` have to say
becomes events of the log, too. Records of libp2p do not, because they contain addresses of peers.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from methrics.node.cli.lines import say
from methrics.node.clock import Clock
from methrics.node.process.streams import one_line


def stamp(now: int) -> str:
    """Returns a time (Unix seconds) in ISO 8601, such as `2026-11-29T19:15:00Z`."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Log:
    """A log of lines for people, or of JSON objects for programs if `as_json`."""

    def __init__(self, clock: Clock, *, as_json: bool) -> None:
        self.clock = clock
        self.as_json = as_json

    def text(self, line: str) -> None:
        """Prints a line for people; nothing if this is a log for programs."""
        if not self.as_json:
            say(f"{stamp(self.clock.now())} {line}")

    def event(self, event: str, **values: object) -> None:
        """Prints an object for programs, with `time` and `event`; nothing if this is a log for
        people."""
        if self.as_json:
            say(json.dumps({"time": stamp(self.clock.now()), "event": event, **values}))

    def both(self, event: str, line: str, **values: object) -> None:
        """Prints an event in the form of this log. An object gets the line as its `message`."""
        self.text(line)
        self.event(event, message=line, **values)


@contextmanager
def only(log: Log) -> Iterator[None]:
    """Makes warnings and the records of Python's loggers events of `log` inside the block, so that
    nothing but lines of the log is printed."""
    root, handler = logging.getLogger(), _Handler(log)
    raised = sys.unraisablehook
    logging.captureWarnings(True)
    root.addHandler(handler)
    sys.unraisablehook = lambda one: log.both("fault", f"{one.err_msg}: {one.exc_value!r}")
    try:
        yield
    finally:
        sys.unraisablehook = raised
        root.removeHandler(handler)
        logging.captureWarnings(False)


class _Handler(logging.Handler):
    """Passes records on to a log, a record's error included, without a traceback."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info and record.exc_info[1]
        text = one_line(record.getMessage()) + (f": {error!r}" if error else "")
        level = record.levelname.lower()
        self._log.both("log", f"{level}: {text}", level=level, logger=record.name)
