"""A line of progress in a terminal or notebook, which is written over and wiped at the end."""

from __future__ import annotations

import sys
from typing import TextIO

from methrics.node.clock import Clock

EVERY = 0.2
"""Seconds between two updates of the line."""


class ProgressLine:
    """Shows each line in place of the one before; an empty line wipes it. It writes nothing where
    nobody looks: to a file or a pipe."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream if stream.isatty() or "ipykernel" in sys.modules else None
        self._clock = clock
        self._due = 0.0
        self._width = 0

    def __call__(self, line: str) -> None:
        """Show `line`, unless the last one was shown just now."""
        if not line:
            self.wipe()
        elif self._stream is not None and self._clock.monotonic() >= self._due:
            self._due = self._clock.monotonic() + EVERY
            self._write(line)

    def _write(self, line: str) -> None:
        assert self._stream is not None
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)

    def wipe(self) -> None:
        """Wipe the line."""
        if self._stream is not None and self._width:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *raised: object) -> None:
        self.wipe()
