"""A directory of Parquet, and an ASGI client without a network, for tests of the live endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aggregate_making as making
import trio

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.store.store import Store

CATALOG = making.catalog()


def make_data(path: Path, count: int = 40) -> Path:
    """Store reports in the DuckDB file `path` and export them; returns the directory."""
    making.store_all(path, [CATALOG.raw, *(making.beat(CATALOG, i) for i in range(count))])
    with Store(path) as store:
        exporter = Exporter(store)
        exporter.export(making.NOW)
        exporter.close()
        return store.directory


@dataclass
class Asked:
    """The answer of an ASGI application."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False

    def json(self) -> Any:
        return json.loads(self.body)


LOCAL = ((b"host", b"127.0.0.1:8417"),)
POST = (*LOCAL, (b"content-type", b"application/json"))


async def ask(
    app: Any,
    path: str,
    body: object = None,
    headers: Iterable[tuple[bytes, bytes]] | None = None,
    leave_after: int | None = None,
    stall_after: int | None = None,
) -> Asked:
    """Send one request to `app`: GET, or POST with a body. `leave_after`: bytes of the answer after
    which the reader leaves, `stall_after`: those after which it takes no more."""
    target, _, query = path.partition("?")
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET" if body is None else "POST",
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": list(headers if headers is not None else (LOCAL if body is None else POST)),
        "client": None,
        "server": None,
    }
    asked, given, left = Asked(), [raw], trio.Event()

    async def receive() -> dict[str, Any]:
        if given:
            return {"type": "http.request", "body": given.pop(), "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            asked.status = message["status"]
            asked.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        asked.body += message.get("body", b"")
        asked.whole = not message.get("more_body", False)
        if leave_after is not None and len(asked.body) > leave_after:
            left.set()
            await trio.sleep_forever()
        if stall_after is not None and len(asked.body) > stall_after:
            await trio.sleep_forever()

    await app(scope, receive, send)
    return asked
