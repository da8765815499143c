"""The line in which a publisher leaves what is wrong, for `Recorder.statistics()`.

    <data>/<label>-<short key>/publisher.lock    `<code>: <sentence>`, one line, or empty

The line is the content of the publisher's lock file, so that an app touches no further file. It
contains nothing of a report. A publisher that works empties the file.
"""

from __future__ import annotations

import contextlib
import os

from methrics.node.paths import Paths

LINE_MAX = 500
"""Most characters of the line that are read and written."""


def status_path(paths: Paths, namespace: str) -> str:
    """Return the path of the file of one app."""
    return paths.publisher_lock(namespace)


def write_status(paths: Paths, namespace: str, line: str) -> None:
    """Store what is wrong, or empty the file if `line` is empty. Does not make the folder of an
    app that has recorded nothing. Never raises."""
    text = " ".join(line.split())[:LINE_MAX]
    # The file is never replaced: a lock on the old file would not keep others from the new one.
    flags = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT if text else 0)
    with contextlib.suppress(OSError):
        fd = os.open(status_path(paths, namespace), flags, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)


def read_status(paths: Paths, namespace: str) -> str:
    """Return what the last publisher of the app found wrong, "" if nothing. Never raises."""
    with contextlib.suppress(OSError):
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        with os.fdopen(os.open(status_path(paths, namespace), flags), "rb") as file:
            text = file.read(4 * LINE_MAX).decode("utf-8", "replace")
            return " ".join(text.split())[:LINE_MAX]
    return ""
