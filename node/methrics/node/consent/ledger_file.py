"""Reads and replaces the small JSON files of consent: a person's ledger, the system's policy."""

from __future__ import annotations

import contextlib
import os

from methrics.node.process.regular import read_regular
from methrics.schema.errors import StoreError

FILE_MAX = 1_048_576
"""Most characters of a ledger or policy; a longer file counts as damaged."""


def move_aside(path: str, when: str) -> str:
    """Renames a damaged file, so that its owner can inspect it. `when`: the time, as part of the
    new name. Returns the new name."""
    first = aside = f"{path}.damaged-{when.replace(':', '')}"
    number = 1
    while os.path.lexists(aside):
        number += 1
        aside = f"{first}-{number}"
    os.rename(path, aside)
    return aside


def write_text(path: str, text: str) -> None:
    """Replaces the file at `path` by `text`, as a whole or not at all. Raises OSError."""
    fresh = f"{path}.{os.getpid()}.new"
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def read_json(path: str) -> dict[str, object] | None:
    """Returns the JSON object in a file; None if there is no file. Raises StoreError if the file
    cannot be read or contains no JSON object."""
    try:
        text = read_regular(path, FILE_MAX * 4 + 1).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(
            "ledger-unread",
            f"cannot read {path}: {error.strerror}",
            "make it readable; until then nothing is recorded",
        ) from error
    except ValueError as error:
        raise damaged(path, str(error)) from error
    import json

    try:
        if len(text) > FILE_MAX:
            raise ValueError("too large")
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(document, dict):
        raise damaged(path, "not an object")
    return document


def damaged(path: str, what: str) -> StoreError:
    """Returns the error for a file with unexpected content. `what`: the cause."""
    return StoreError(
        "ledger-damaged",
        f"cannot read {path}: {what}",
        "until you repair it or answer again, nothing is recorded",
    )
