"""The line in which a publisher leaves what is wrong, for `Recorder.statistics()` and the CLI.

    <data>/<label>-<short key>/publisher.txt    `<code>: <sentence>`, one line

A publisher that works removes the file. It contains nothing of a report.
"""

from __future__ import annotations

import contextlib
import os

from methrics.node.paths import Paths

LINE_MAX = 500
"""Most characters of the line that are read and written."""


def status_path(paths: Paths, namespace: str) -> str:
    """Return the path of the file of one app."""
    return os.path.join(paths.namespace(namespace), "publisher.txt")


def write_status(paths: Paths, namespace: str, line: str) -> None:
    """Store what is wrong, or remove the file if `line` is empty. Does not make the folder of an
    app that has recorded nothing. Never raises."""
    path = status_path(paths, namespace)
    with contextlib.suppress(OSError):
        if not line:
            os.unlink(path)
            return
        text = " ".join(line.split())[:LINE_MAX]
        fresh = f"{path}.{os.getpid()}.new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
            file.write(text + "\n")
        os.replace(fresh, path)


def read_status(paths: Paths, namespace: str) -> str:
    """Return what the last publisher of the app found wrong, "" if nothing. Never raises."""
    with contextlib.suppress(OSError):
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        with os.fdopen(os.open(status_path(paths, namespace), flags), "rb") as file:
            text = file.read(4 * LINE_MAX).decode("utf-8", "replace")
            return " ".join(text.split())[:LINE_MAX]
    return ""
