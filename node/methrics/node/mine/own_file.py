"""Writes files that reveal which reports are a person's own. Only that person can read them."""

from __future__ import annotations

import os
from pathlib import Path

from methrics.schema.errors import LocalError


def write_own(path: Path, data: bytes) -> None:
    """Write `data` to a new file with mode 0600, which replaces the file `path` if it exists.

    If `path` is a pipe or another special file, `data` is written to it directly. Raises LocalError
    `export-unwritten`.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        real = path.resolve()
        real.unlink(missing_ok=True)
        with os.fdopen(os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise LocalError(
            "export-unwritten", f"cannot write {path}: {error.strerror}", "choose another file"
        ) from error
