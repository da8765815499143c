# pyright: strict
"""Example use of the public API. pyright (strict) and mypy check it; it never runs."""

from __future__ import annotations

from pathlib import Path

import methrics.node
from methrics.aggregate import open_data, open_dataset, verify
from methrics.node.testing import MemoryNetwork
from methrics.schema import Accepted, Catalog, CatalogBook, judge, load


def embed(catalog: Path) -> tuple[bool, dict[str, int]]:
    with methrics.node.open(catalog, app_version="1.4", strict=True) as recorder:
        kept = recorder.record("heartbeat", **recorder.facts("heartbeat"))
        with recorder.sequence("signin", variant="a") as signin:
            signin.step("shown")
            signin.set(language="en")
        return kept, recorder.statistics().dropped


def check(raw: bytes, catalog: Catalog, now: int) -> bool:
    book = CatalogBook()
    book.add(catalog)
    verdict = judge(raw, book, now)
    return isinstance(verdict, Accepted) and verdict.item.raw == raw


def read(path: Path) -> list[str]:
    with open_dataset(path) as data:
        rows = data.rows("SELECT day, count(*) FROM example.signin GROUP BY day")
        return [f"{day}: {count}" for day, count in rows] + [str(verify(data).ok)]


def explore(address: str) -> list[str]:
    with open_data(address, floor=1) as data:
        view = data.view("heartbeat_dau")
        return [view.says, *(str(row) for row in view.rows())]


def key_of(path: Path) -> bytes:
    return load(path.read_bytes()).key


__all__ = ["MemoryNetwork", "check", "embed", "explore", "key_of", "read"]
