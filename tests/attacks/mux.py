"""Yamux of a peer that is not ours: streams, and frames that nobody should send."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Awaitable, Callable

import trio
from tests.attacks.secure import Reader, Secure, propose, respond

YAMUX = b"/yamux/1.0.0"
DATA, WINDOW, PING, AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
FIRST_WINDOW = 262_144
HEADER = struct.Struct(">BBHII")

GONE = (EOFError, OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What an attacker gets after it was dropped."""


def header(kind: int, flags: int, stream: int, length: int) -> bytes:
    """The 12 bytes of a frame's header."""
    return HEADER.pack(0, kind, flags, stream, length)


class Stream:
    """One stream. `receive` takes what arrived; nothing is granted back until it is called."""

    def __init__(self, mux: Mux, number: int) -> None:
        self.mux = mux
        self.number = number
        self.window = FIRST_WINDOW
        self.closed = False
        self.reader = Reader(self)
        self._arrived: list[bytes] = []
        self._changed = trio.Event()

    def wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def feed(self, data: bytes) -> None:
        self._arrived.append(data)
        self.wake()

    async def receive(self) -> bytes:
        """Some bytes, b"" at the end."""
        while not self._arrived:
            if self.closed:
                return b""
            await self._changed.wait()
        data = b"".join(self._arrived)
        self._arrived.clear()
        await self.mux.frame(header(WINDOW, 0, self.number, len(data)))
        return data

    async def send(self, data: bytes) -> None:
        """Send all, as the window of the other side allows."""
        while data:
            while not self.window:
                if self.closed:
                    raise EOFError
                await self._changed.wait()
            part, data = data[: min(self.window, 16_384)], data[min(self.window, 16_384) :]
            self.window -= len(part)
            await self.mux.frame(header(DATA, 0, self.number, len(part)) + part)

    async def finish(self) -> None:
        """Send nothing more on this stream."""
        await self.mux.frame(header(DATA, FIN, self.number, 0))

    async def reset(self) -> None:
        await self.mux.frame(header(DATA, RST, self.number, 0))


class Mux:
    """All streams of one connection; `handlers` answer the streams that the other side opens."""

    def __init__(self, secure: Secure) -> None:
        self.secure = secure
        self.streams: dict[int, Stream] = {}
        self.handlers: dict[bytes, Callable[[Stream], Awaitable[None]]] = {}
        self.ended = trio.Event()
        self._next = 1

    async def start(self) -> Reader:
        reader = Reader(self.secure)
        if not await propose(self.secure, reader, YAMUX):
            raise EOFError
        return reader

    async def frame(self, data: bytes) -> None:
        await self.secure.send(data)

    async def open_raw(self) -> Stream:
        """A new stream on which no protocol is agreed."""
        stream = self.streams[self._next] = Stream(self, self._next)
        self._next += 2
        await self.frame(header(WINDOW, SYN, stream.number, 0))
        return stream

    async def open(self, protocol: str) -> Stream:
        """A new stream of `protocol`; EOFError if the other side does not speak it."""
        stream = await self.open_raw()
        if not await propose(stream, stream.reader, protocol.encode()):
            raise EOFError
        return stream

    async def run(self, reader: Reader, nursery: trio.Nursery) -> None:
        """Take frames until the connection ends."""
        with contextlib.suppress(*GONE):
            while True:
                head = HEADER.unpack(await reader.exactly(HEADER.size))
                await self._take(reader, nursery, *head[1:])
        self.ended.set()
        for stream in self.streams.values():
            stream.closed = True
            stream.wake()

    async def _take(
        self, reader: Reader, nursery: trio.Nursery, kind: int, flags: int, number: int, length: int
    ) -> None:
        if kind == PING and flags & SYN:
            await self.frame(header(PING, ACK, 0, length))
        if kind in (PING, AWAY):
            return
        body = await reader.exactly(length) if kind == DATA else b""
        if flags & SYN:
            self.streams[number] = Stream(self, number)
            await self.frame(header(WINDOW, ACK, number, 0))
            nursery.start_soon(self._serve, self.streams[number])
        stream = self.streams.get(number)
        if stream is None:
            return
        if kind == WINDOW:
            stream.window += length
        if flags & (FIN | RST):
            stream.closed = True
            if flags & RST:
                self.streams.pop(number, None)
        if body:
            stream.feed(body)
        stream.wake()

    async def _serve(self, stream: Stream) -> None:
        with contextlib.suppress(*GONE):
            protocol = await respond(stream, stream.reader, set(self.handlers))
            await self.handlers[protocol](stream)
