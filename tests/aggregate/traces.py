"""Looks for what would show on a disk that a report was here."""

from __future__ import annotations

from pathlib import Path

from methrics.schema.wire.envelope import split


def traces(raw: bytes) -> dict[str, bytes]:
    """A report's id, key, bytes and signature."""
    item = split(raw)
    return {"id": item.id, "key": item.key, "raw": raw, "signature": raw[-64:]}


def left_on_disk(folder: Path, raw: bytes) -> set[str]:
    """The traces of a report in any file of a folder."""
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return {what for what, some in traces(raw).items() if any(some in file for file in files)}
