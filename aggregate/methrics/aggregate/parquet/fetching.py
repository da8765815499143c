"""Fetches files over http(s) on kept-alive connections, each up to a maximum size.

Every failure raises a clear error, and so does a server that sends too slowly. A connection is used
again for the next file of its host, so a directory of many small files costs one handshake for each
file that is fetched at the same time.
"""

from __future__ import annotations

import hashlib
import http.client
import threading
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from methrics.aggregate.parquet.steady import connection
from methrics.node.clock import Clock
from methrics.node.process.closing import Closing
from methrics.schema.errors import LocalError, UnreachableError

SIZE_MAX = 4 * 1024**3
"""Maximum size of a fetched data set in bytes: some 100 million reports."""

PATIENCE = 30.0
"""Seconds to wait for an answer, or for the next part of an answer."""

REDIRECTS_MAX = 5

Progress = Callable[[str], None]
"""Called with a short progress line, such as `metrics.duckdb: 3.1 of 12.0 MB`, when it changes, and
with an empty one when all that is needed is here."""

_PIECE = 1024 * 1024
_MOVED = frozenset({301, 302, 303, 307, 308})
_ABSENT = frozenset({404, 410})
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "methrics"}


class AnsweredError(UnreachableError):
    """A server answered, but not with the file."""


class AbsentError(AnsweredError):
    """The server has no such file."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One fetched file: its address after redirections, its size, and the SHA-256 of its bytes."""

    address: str
    size: int
    sha256: str


def silent(line: str) -> None:
    """A `Progress` that shows nothing."""


class Session(Closing):
    """Connections that are kept for the next file. Any thread may fetch. Use it as a context
    manager, or `close()` it."""

    def __init__(self, patience: float = PATIENCE, clock: Clock | None = None) -> None:
        self._patience = patience
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}

    def fetch(
        self,
        address: str,
        target: Path,
        *,
        size_max: int = SIZE_MAX,
        progress: Progress = silent,
    ) -> Fetched:
        """Write the content of `address` (http or https) to the file `target`.

        Raises UnreachableError `download-failed` (`AnsweredError` if a server answered,
        `AbsentError` if it has no such file) and LocalError `download-too-large`.
        """
        first = address
        try:
            for _ in range(REDIRECTS_MAX + 1):
                parts = urlsplit(address)
                con, answer = self._ask(parts)
                if answer.status not in _MOVED:
                    return self._take(parts, con, answer, target, size_max, progress)
                answer.close()
                con.close()
                address = _moved(parts, answer)
            raise failed(first, "it is redirected without end")
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise failed(first, why) from error

    def _ask(
        self, parts: SplitResult
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request, on a kept connection if there is one that the server has not closed."""
        path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        while True:
            con, kept, prefix = self._connection(parts)
            try:
                con.request("GET", prefix + path, headers={**_HEADERS, **_proxy_headers(parts)})
                return con, con.getresponse()
            except (ConnectionError, http.client.BadStatusLine):
                con.close()
                if not kept:
                    raise
            except BaseException:
                con.close()
                raise

    def _connection(self, parts: SplitResult) -> tuple[http.client.HTTPConnection, bool, str]:
        """Return a connection, whether it was used before, and what stands before the path in a
        request."""
        proxy = _proxy(parts)
        prefix = f"http://{parts.netloc}" if proxy is not None and parts.scheme == "http" else ""
        with self._lock:
            idle = self._idle.get((parts.scheme, parts.netloc))
            if idle:
                return idle.pop(), True, prefix
        to = proxy if proxy is not None else parts
        if not parts.hostname or not to.hostname:
            raise ValueError("the address names no host")
        con = connection(
            parts.scheme, to.hostname, to.port, patience=self._patience, clock=self._clock
        )
        if proxy is not None and parts.scheme == "https":
            con.set_tunnel(parts.hostname, parts.port, _authorization(proxy))
        return con, False, prefix

    def _take(
        self,
        parts: SplitResult,
        con: http.client.HTTPConnection,
        answer: http.client.HTTPResponse,
        target: Path,
        size_max: int,
        progress: Progress,
    ) -> Fetched:
        address = parts.geturl()
        whole = False
        try:
            if answer.status != http.client.OK:
                kind = AbsentError if answer.status in _ABSENT else AnsweredError
                raise failed(address, f"{answer.status} {answer.reason}".strip(), kind)
            size = answer.length
            if size is not None and size > size_max:
                raise too_large(address, size_max)
            digest = hashlib.sha256()
            with target.open("wb") as file:
                fetched = 0
                while piece := answer.read(_PIECE):
                    fetched += len(piece)
                    if fetched > size_max:
                        raise too_large(address, size_max)
                    digest.update(piece)
                    file.write(piece)
                    progress(_line(target, fetched, size))
            if size is not None and fetched < size:
                raise failed(address, "the connection ended early")
            whole = True
            return Fetched(address, fetched, digest.hexdigest())
        finally:
            if whole and not answer.will_close:
                with self._lock:
                    self._idle.setdefault((parts.scheme, parts.netloc), []).append(con)
            else:
                answer.close()  # it has the socket if the server closes the connection
                con.close()

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for own in idle.values():
            for con in own:
                with suppress(OSError):
                    con.close()


def _moved(parts: SplitResult, answer: http.client.HTTPResponse) -> str:
    """Return where `answer` sends the reader: only on to http(s), and never back from https."""
    address = urljoin(parts.geturl(), answer.headers.get("Location", ""))
    scheme = urlsplit(address).scheme
    if scheme not in ("http", "https") or (parts.scheme == "https" and scheme == "http"):
        raise ValueError(f"it is redirected to {address[:200]}")
    return address


def _proxy(parts: SplitResult) -> SplitResult | None:
    """Return the proxy that the environment names for this address."""
    named = getproxies().get(parts.scheme)
    if not named or proxy_bypass(parts.hostname or ""):
        return None
    return urlsplit(named if "://" in named else f"http://{named}")


def _proxy_headers(parts: SplitResult) -> dict[str, str]:
    proxy = _proxy(parts) if parts.scheme == "http" else None
    return {} if proxy is None else _authorization(proxy)


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    own = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(own.encode()).decode()}"}


def _line(target: Path, done: int, size: int | None) -> str:
    return f"{target.name}: {megabytes(done)}" + (f" of {megabytes(size)}" if size else "") + " MB"


def megabytes(size: int) -> str:
    """Format a number of bytes in megabytes, with one decimal."""
    return f"{size / 1e6:,.1f}"


def too_large(address: str, size_max: int) -> LocalError:
    """Return the error for content that is larger than `size_max` bytes."""
    return LocalError(
        "download-too-large",
        f"{address} is larger than {size_max:,} bytes",
        "fetch it yourself and give the file",
    )


def failed(
    address: str, why: str, kind: type[UnreachableError] = UnreachableError
) -> UnreachableError:
    """Return the error for any other failure."""
    return kind("download-failed", f"{address} cannot be fetched: {why}")
