"""Reads and writes files that hold a namespace's record: the exact bytes of one item."""

from __future__ import annotations

import os
from pathlib import Path

from methrics.schema.errors import ConfigError, RefusedError, StoreError
from methrics.schema.wire.envelope import Item, Kind, split, verify
from methrics.schema.wire.limits import RECORD_MAX
from methrics.schema.wire.record import decode_record

HINT = "give the file that `methrics namespace publish` wrote"


def load_record(path: Path) -> Item:
    """Returns the record in the file `path`. Raises ConfigError `record-unreadable` or
    `not-a-record`."""
    try:
        with path.open("rb") as file:
            raw = file.read(RECORD_MAX + 1)
    except OSError as error:
        raise ConfigError(
            "record-unreadable", f"cannot read {path}: {error.strerror}", HINT
        ) from error
    try:
        item = split(raw)
        if item.kind is not Kind.RECORD:
            raise ConfigError("not-a-record", f"{path} is no record", HINT)
        verify(item)
        decode_record(item.payload)
    except RefusedError as error:
        raise ConfigError("not-a-record", f"{path} is no record: {error.message}", HINT) from error
    return item


def write_record(path: Path, raw: bytes) -> None:
    """Writes a record in place of the one before, if any; a reader sees one or the other. Raises
    StoreError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StoreError(
            "record-unwritable", f"cannot write {path}: {error.strerror}", "name another with --out"
        ) from error
