"""A file that tells which reports are one's own: readable for its owner alone."""

from __future__ import annotations

import os
from pathlib import Path

from methrics.schema.errors import LocalError


def write_own(path: Path, data: bytes) -> None:
    """Write `data` to `path` as a new file with mode 0600, in place of what was there; what is no
    file, such as a pipe, is written to and stays. Raises LocalError `export-unwritten`."""
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
