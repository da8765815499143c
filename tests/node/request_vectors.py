"""The published vectors of requests and messages, as tests read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from methrics.schema.catalog.catalog import load
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import split
from methrics.schema.wire.record import decode_record

V1 = Path(__file__).parents[2] / "schema" / "vectors" / "v1"
FOLDER = V1 / "requests"


def names(kind: str) -> list[str]:
    """The vectors of a kind; a kind without any is a mistake."""
    found = sorted(path.stem for path in FOLDER.glob(f"{kind}-*.json"))
    assert found, kind
    return found


def vector(name: str) -> dict[str, Any]:
    """What is given and expected, as in the file."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def octets(value: object) -> bytes:
    """Bytes as a file writes them: hex digits, or [hex digits, how often, hex digits, ...]."""
    if isinstance(value, list):
        pairs = zip(value[::2], value[1::2], strict=True)
        return b"".join(bytes.fromhex(digits) * often for digits, often in pairs)
    assert isinstance(value, str)
    return bytes.fromhex(value)


def book_of(catalogs: list[str], records: list[str]) -> CatalogBook:
    """A book that knows the catalogs and records of these vectors."""
    book = CatalogBook()
    for name in records:
        item = split(_bytes_of(name))
        book.records.add(item, decode_record(item.payload))
    for name in catalogs:
        assert book.add(load(_bytes_of(name)), given=True)
    return book


def _bytes_of(name: str) -> bytes:
    return bytes.fromhex(json.loads((V1 / f"{name}.json").read_text())["bytes"])
