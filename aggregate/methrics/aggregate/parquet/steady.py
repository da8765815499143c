"""HTTP connections that give up on a server which sends too slowly.

A socket's time limit begins anew with each byte, so a server that sends one now and then would keep
a reader for ever, be it in the headers or in the body. Here what comes is counted: only the time in
which this side waits counts, and not until the first byte, for which the server may have to work.
"""

from __future__ import annotations

import http.client
import io
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from methrics.node.clock import Clock

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

WINDOW = 30.0
"""Seconds of waiting after which it is looked how much has come."""

BYTES_LEAST = 1_000
"""Least bytes per second of waiting. A modem of the last century brings more."""


class Pace:
    """How fast an answer comes (pure)."""

    def __init__(self) -> None:
        self._begun = False
        self._waited = 0.0
        self._size = 0

    def came(self, size: int, waited: float) -> bool:
        """Note that `size` bytes came after waiting; return whether that is fast enough."""
        if not self._begun:
            self._begun = True
            return True
        self._waited += waited
        self._size += size
        if self._waited < WINDOW:
            return True
        enough = self._size >= BYTES_LEAST * self._waited
        self._waited, self._size = 0.0, 0
        return enough


class _Reader(io.RawIOBase):
    """Reads a socket. Raises TimeoutError if too little comes."""

    def __init__(self, raw: io.RawIOBase, clock: Clock) -> None:
        self._raw = raw
        self._clock = clock
        self._pace = Pace()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        began = self._clock.monotonic()
        size = self._raw.readinto(buffer)
        if size and not self._pace.came(size, self._clock.monotonic() - began):
            raise TimeoutError(f"it sends less than {BYTES_LEAST:,} bytes a second")
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Watched:
    """What an answer needs of a socket."""

    def __init__(self, sock: socket.socket, clock: Clock) -> None:
        self._sock = sock
        self._clock = clock

    def makefile(self, _mode: str) -> io.BufferedReader:
        raw: Any = self._sock.makefile("rb", buffering=0)
        return io.BufferedReader(_Reader(raw, self._clock))


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *about: Any, clock: Clock, **named: Any) -> None:
        watched: Any = _Watched(sock, clock)
        super().__init__(watched, *about, **named)


def connection(
    scheme: str, host: str, port: int | None, *, patience: float, clock: Clock
) -> http.client.HTTPConnection:
    """Return a connection, which is made with the first request. `patience`: the seconds to wait
    for it, for the first byte of an answer, and for each further part."""
    kind: type[http.client.HTTPConnection] = http.client.HTTPConnection
    if scheme == "https":
        kind = http.client.HTTPSConnection
    made: Any = kind(host, port, timeout=patience)
    made.response_class = partial(_Answer, clock=clock)
    found: http.client.HTTPConnection = made
    return found
