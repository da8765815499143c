"""Reads length-prefixed gossip frames from a stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from methrics._vendor.libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from methrics.node.network.libp2p.pace import Pace

_CHUNK = 65_536


class SlowFrameError(Exception):
    """The rest of a frame arrives too slowly."""


class FrameReader:
    """Reads frames in large pieces. Stock reads single bytes.

    `count_unread` is called with the number of bytes by which the buffer grew (negative if it
    shrank). A frame that has begun must go on at the pace of `grace` and `rate`.
    """

    def __init__(
        self,
        read: Callable[[int], Awaitable[bytes]],
        frame_max: int,
        count_unread: Callable[[int], None] = lambda _: None,
        *,
        grace: float = float("inf"),
        rate: float = 1.0,
    ) -> None:
        self._read = read
        self._frame_max = frame_max
        self._count_unread = count_unread
        self._grace = grace
        self._rate = rate
        self._buffer = bytearray()

    def close(self) -> None:
        """Drop the bytes of an unfinished frame."""
        self._count_unread(-len(self._buffer))
        self._buffer = bytearray()

    async def next(self) -> bytes:
        """Return the next frame. Raises `MessageTooLarge` if it has more than `frame_max` bytes,
        `SlowFrameError` if it is too slow, and `IncompleteReadError` if the stream ends."""
        pace: Pace | None = None
        while True:
            length, size = self._length()
            if length is not None:
                if length > self._frame_max:
                    raise MessageTooLarge(f"a frame of {length} bytes")
                if len(self._buffer) >= size + length:
                    frame = bytes(memoryview(self._buffer)[size : size + length])
                    del self._buffer[: size + length]
                    self._count_unread(-(size + length))
                    return frame
            if self._buffer and pace is None:
                pace = Pace(trio.current_time(), grace=self._grace, rate=self._rate)
            data = await self._more(pace)
            self._buffer += data
            self._count_unread(len(data))
            if pace is not None:
                pace.moved(len(data), trio.current_time())

    async def _more(self, pace: Pace | None) -> bytes:
        with trio.CancelScope(deadline=float("inf") if pace is None else pace.deadline) as scope:
            data = await self._read(_CHUNK)
            if not data:
                raise IncompleteReadError("the stream ended", expected_bytes=1, received_bytes=0)
        if scope.cancelled_caught:
            raise SlowFrameError
        return data

    def _length(self) -> tuple[int | None, int]:
        length = 0
        for i, byte in enumerate(self._buffer[:10]):
            length |= (byte & 0x7F) << (7 * i)
            if not byte & 0x80:
                return length, i + 1
        if len(self._buffer) >= 10:
            raise MessageTooLarge("a length of more than ten bytes")
        return None, 0
