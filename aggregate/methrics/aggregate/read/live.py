"""Reads a running aggregator through its live endpoint: `open_live(address)`.

The tables and views are those of any data set. Each query is one request, which the aggregator
answers from data that are some seconds old. Everything runs there, within its limits.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from methrics.aggregate.parquet.fetching import too_large
from methrics.aggregate.parquet.steady import connection
from methrics.aggregate.read.dataframes import TablesAndViews
from methrics.aggregate.read.live_file import read_live_file, writer_of
from methrics.aggregate.read.totals import FLOOR
from methrics.aggregate.store.duck import Relation, lock_down, memory, name
from methrics.node.clock import Clock
from methrics.node.process.closing import Closing
from methrics.schema.errors import MethricsError, StoreError, UnreachableError

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

PATIENCE = 90.0
"""Seconds to wait for an answer, or for the next part of it."""

KIND = "methrics live endpoint"
"""What `/status` says in `kind`."""

LIVE_HINT = "is an aggregator running there, with --http?"
"""What to look for if nobody answers at an address."""

REFUSED = "live-refused"
"""The code of the error for those who may not ask."""

ERROR_KEY = b"methrics-error"
"""The key of the metadata of an Arrow batch that tells of an error in the middle of an answer."""

ANSWER_MAX = 2 * 1024**3
"""Most bytes of an answer, in Arrow: more than an endpoint of ours sends. Whoever is asked may be
anybody."""

_JSON_MAX = 16 * 1024 * 1024


def live_status(address: str, *, timeout: float = 5.0) -> dict[str, Any] | None:
    """Return what a live endpoint says in `/status`; None if there is none at `address`.

    Raises UnreachableError if nobody answers, and StoreError `live-refused` if an endpoint says
    that it may not be asked by this name.
    """
    with _request(address, "GET", "/status", timeout=timeout) as answer:
        try:
            found = json.loads(answer.read(_JSON_MAX))
        except (ValueError, RecursionError, OSError, http.client.HTTPException):
            return None
    if not isinstance(found, dict):
        return None
    if answer.status == http.client.FORBIDDEN and found.get("code") == REFUSED:
        raise _from_json(json.dumps(found).encode())
    return found if answer.status == http.client.OK and found.get("kind") == KIND else None


def live_beside(path: Path) -> tuple[str, dict[str, Any]] | None:
    """Return address and status of the endpoint of the aggregator that writes the file `path`, or
    None. A file that a killed aggregator left behind counts as none."""
    live = read_live_file(path)
    if live is None or writer_of(path) != live.process:
        return None
    try:
        status = live_status(live.address)
    except UnreachableError:
        return None
    if status is None or status.get("instance") != live.instance:
        return None
    return live.address, status


def open_live(address: str, *, floor: int = FLOOR) -> LiveDataset:
    """Open the live endpoint at `address`, such as `http://127.0.0.1:8417`.

    Raises UnreachableError `live-unreachable`, StoreError.
    """
    return LiveDataset(address, floor)


class LiveDataset(TablesAndViews, Closing):
    """The tables and views of a running aggregator. Use it as a context manager, or `close()` it.

    Raises UnreachableError `live-unreachable` if the aggregator stops, and StoreError, code query,
    with the sentence that the aggregator gives.
    """

    source = "live"
    """The form of the data: asked from a running aggregator."""

    def __init__(self, address: str, floor: int) -> None:
        self.address = address.rstrip("/")
        self.path = self.address
        """The same: what is read."""
        self.floor = floor
        self._con = memory()
        lock_down(self._con, [], "2GB")
        try:
            found = self._ask("GET", f"/tables?floor={floor}")
            self._tables = [str(one) for one in found["tables"]]
            self._views = {str(name): str(says) for name, says in found["views"].items()}
            self.written: str | None = found["written"]
            """When the data of the last answer were written (ISO 8601, UTC)."""
        except (KeyError, TypeError, AttributeError) as error:
            self._con.close()
            raise StoreError(
                "store-foreign", f"{address} is no live endpoint of this version"
            ) from error
        except MethricsError:
            self._con.close()
            raise

    def tables(self) -> list[str]:
        """The names of the tables as SQL writes them: `item`, `example.heartbeat`, …"""
        return sorted(self._tables)

    def count(self, table: str) -> int:
        """The number of rows of a table."""
        return int(self.rows(f"SELECT count(*) FROM {name(*table.split('.'))}")[0][0])

    def views(self) -> Mapping[str, str]:
        """Ready-made views: name -> the meaning and the limits of its numbers."""
        return self._views

    def footnote(self, view: str) -> str:
        """Explain in a sentence how `view` rounds, and how many groups it omits."""
        return str(self._ask("GET", f"/footnote?floor={self.floor}&view={quote(view)}"))

    def arrow(self, query: str, parameters: Sequence[object] = ()) -> pa.Table:
        """Return the rows of one SELECT as an Arrow table. Raises StoreError, code query, and
        LocalError `download-too-large` for more than `ANSWER_MAX` bytes."""
        body = json.dumps({"sql": query, "parameters": list(parameters), "floor": self.floor})
        with _request(self.address, "POST", "/query", body.encode()) as answer:
            if answer.status != 200:
                raise _error(answer)
            self.written = answer.headers.get("Methrics-Written")
            return _table(answer, self.address)

    def sql(self, query: str, parameters: Sequence[object] = ()) -> Relation:
        """Ask at once, and return the rows as a relation on this machine."""
        return self._con.from_arrow(self.arrow(query, parameters))

    def _ask(self, method: str, path: str) -> Any:
        with _request(self.address, method, path) as answer:
            if answer.status != 200:
                raise _error(answer)
            try:
                return json.loads(answer.read(_JSON_MAX))
            except (ValueError, RecursionError) as error:
                raise _unreachable(self.address, "its answer is not JSON") from error

    def __str__(self) -> str:
        return f"{self.address} (live)"

    def close(self) -> None:
        """Forget the rows of `sql`. Safe to call twice."""
        self._con.close()


def _table(answer: http.client.HTTPResponse, address: str) -> pa.Table:
    import pyarrow as pa

    batches, size = [], 0
    try:
        reader = pa.ipc.open_stream(answer)
        while True:
            try:
                batch, about = reader.read_next_batch_with_custom_metadata()
            except StopIteration:
                break
            if about is not None and ERROR_KEY in about:
                raise _from_json(about[ERROR_KEY])
            size += batch.nbytes
            if size > ANSWER_MAX:
                raise too_large(address, ANSWER_MAX)
            batches.append(batch)
        answer.read(1)  # an answer that was cut short raises here
        return pa.Table.from_batches(batches, schema=reader.schema)
    except (OSError, http.client.HTTPException, pa.ArrowException) as error:
        raise _unreachable(address, f"the answer was cut short: {error}") from error


def _error(answer: http.client.HTTPResponse) -> MethricsError:
    return _from_json(answer.read(_JSON_MAX))


def _from_json(text: bytes) -> MethricsError:
    """Return the error that the endpoint tells, with its own sentence."""
    try:
        found = json.loads(text)
        return StoreError(str(found["code"]), str(found["message"]), str(found["hint"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return StoreError("query", "the live endpoint refused, and gave no reason")


@contextmanager
def _request(
    address: str,
    method: str,
    path: str,
    body: bytes | None = None,
    timeout: float = PATIENCE,
    clock: Clock | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """Send one request; yield the answer. Raises UnreachableError `live-unreachable`, also if the
    answer cannot be read in the block."""
    try:
        parts = urlsplit(address)
        asked = connection(
            parts.scheme, parts.hostname or "", parts.port, patience=timeout, clock=clock or Clock()
        )
    except ValueError as error:
        raise _unreachable(address, str(error)) from error
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        asked.request(method, parts.path.rstrip("/") + path, body, headers)
        with asked.getresponse() as answer:
            yield answer
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise _unreachable(address, why, LIVE_HINT) from error
    finally:
        asked.close()


def _unreachable(address: str, why: str, hint: str = "") -> UnreachableError:
    return UnreachableError("live-unreachable", f"{address} does not answer: {why}", hint)
