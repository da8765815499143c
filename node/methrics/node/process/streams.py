"""Prepares the standard streams of a command, and keeps Python from printing errors about them.

Imports nothing that an extra installs.
"""

from __future__ import annotations

import contextlib
import os
import sys
from io import TextIOWrapper

from methrics.schema.errors import ConfigError


def prepare_streams() -> None:
    """Make the standard streams usable, before a command opens a file.

    A closed standard input or error becomes the null device. Otherwise the next file that is opened
    would take its number, and text for people would be written into that file. What a stream's
    encoding lacks is printed as an escape, such as a file name that is not UTF-8.

    Raises ConfigError `no-output` if standard output is closed: then the command could not say what
    it did.
    """
    if sys.stdin is None:
        sys.stdin = open(_null(0, os.O_RDONLY), encoding="utf-8")  # noqa: SIM115 - to the end
    if sys.stderr is None:
        sys.stderr = open(_null(2, os.O_WRONLY), "w", encoding="utf-8")  # noqa: SIM115 - likewise
    if sys.stdout is None:
        raise ConfigError(
            "no-output", "standard output is closed", "to print nothing, use >/dev/null"
        )
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_unwritten() -> None:
    """Connect a standard stream that cannot be written to the null device. Otherwise Python would
    print an error about it when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                _null(stream.fileno(), os.O_WRONLY)


def one_line(text: str) -> str:
    """Return `text` with line breaks and other control characters as escapes."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text.strip())


def _null(number: int, flags: int) -> int:
    """Open the null device as the file descriptor `number`, and return that."""
    opened = os.open(os.devnull, flags)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    return number
