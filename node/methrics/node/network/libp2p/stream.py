"""One yamux stream: our window limits its read buffer, and the peer's window limits writing."""

from __future__ import annotations

from types import TracebackType

import trio

from methrics._vendor.libp2p.abc import IMuxedStream
from methrics._vendor.libp2p.stream_muxer.exceptions import (
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)
from methrics.node.network.libp2p import frames
from methrics.node.network.libp2p.carrier import Carrier
from methrics.node.network.libp2p.compat import override
from methrics.node.network.libp2p.frames import Flag, Type
from methrics.node.network.libp2p.pace import Pace


class Stream(IMuxedStream):
    """One stream. The peer gets new credit only when half a window was read, so that few window
    updates are sent."""

    def __init__(self, conn: Carrier, stream_id: int, inbound: bool) -> None:
        self.stream_id = stream_id
        self.muxed_conn: Carrier = conn
        self.inbound = inbound
        self.closed = False
        self._conn = conn
        self._buffer = bytearray()
        self._window = frames.WINDOW  # bytes that the peer may send before we read them
        self._credit = frames.WINDOW  # bytes of the window that the peer has not used
        self._consumed = 0  # bytes read for which the peer has no new credit yet
        self._send_window = frames.WINDOW
        self._eof = False
        self._reset = False
        self._closing = False
        self._fin_sent = False
        self._readers = 0
        self._used = trio.current_time()  # when we last read, or closed
        self._changed = trio.Event()
        self._write_lock = trio.Lock()

    def widen(self, window: int) -> None:
        """Enlarge the peer's window to `window` bytes; used for the gossip stream."""
        extra = window - self._window
        if extra > 0:
            self._window += extra
            self._credit += extra
            self._conn.grant(self.stream_id, extra)

    @override
    async def read(self, n: int | None = None) -> bytes:
        """Wait for received bytes; return at least one and at most `n`.

        Raises `MuxedStreamEOF` at the end of the stream. Raises `MuxedStreamReset` after a reset,
        and, once all received bytes are read, after the end of the connection.
        """
        while not self._buffer:
            if self._eof and not self._reset:
                raise MuxedStreamEOF("the peer closed the stream")
            if self._reset or self.closed:
                raise MuxedStreamReset("the stream was reset")
            self._readers += 1
            try:
                await self._changed.wait()
            finally:
                self._readers -= 1
        if n is None or n < 0 or n >= len(self._buffer):
            data = bytes(self._buffer)
            self._buffer = bytearray()
        else:
            data = bytes(memoryview(self._buffer)[:n])
            del self._buffer[:n]
        self._used = trio.current_time()
        self._conn.count_unread(-len(data))
        self._consumed += len(data)
        if self._consumed * 2 >= self._window and not (self._eof or self.closed):
            self._credit += self._consumed
            self._conn.grant(self.stream_id, self._consumed)
            self._consumed = 0
        return data

    @override
    async def write(self, data: bytes) -> None:
        """Send all of `data`. Raises MuxedStreamError if the peer reads no byte for
        `write_time_max` seconds, or is slower than `rate_least`."""
        async with self._write_lock:
            try:
                await self._write(data)
            finally:
                if self._closing:
                    self._finish()

    async def _write(self, data: bytes) -> None:
        sent = 0
        settings = self._conn.settings
        pace = Pace(trio.current_time(), grace=settings.write_time_max, rate=settings.rate_least)
        while sent < len(data):
            await self._wait_for_window(pace.deadline)
            size = min(self._send_window, frames.PAYLOAD_MAX, len(data) - sent)
            self._send_window -= size
            chunk = data if size == len(data) else data[sent : sent + size]
            try:
                await self._conn.send(Type.DATA, 0, self.stream_id, size, chunk)
            except BaseException:
                self._send_window += size  # cancelled before any byte of the frame was sent
                raise
            sent += size
            pace.moved(size, trio.current_time())

    async def _wait_for_window(self, deadline: float) -> None:
        with trio.move_on_at(deadline) as scope:
            while not (self._send_window or self.closed or self._closing):
                await self._changed.wait()
        if self.closed or self._closing:
            raise MuxedStreamClosed("the stream is closed")
        if scope.cancelled_caught:
            raise MuxedStreamError("the peer has stopped reading")

    @override
    async def close(self) -> None:
        """End writing; the peer may still write. Never waits. A write that still runs raises
        MuxedStreamClosed, and the end of the stream is sent after that."""
        self._closing = True
        self._used = trio.current_time()
        self._wake()
        if not self._write_lock.locked():
            self._finish()

    def _finish(self) -> None:
        if not self._fin_sent and not self.closed:
            self._fin_sent = True
            self._conn.queue(Type.WINDOW, Flag.FIN, self.stream_id, 0)
        self.forget_if_done()

    @override
    async def reset(self) -> None:
        """End the stream in both directions. Never waits."""
        self.break_off()

    def release(self) -> None:
        """Reset the stream when it is no longer used here, unless it was closed."""
        if not self._closing:
            self.break_off()

    def break_off(self) -> None:
        """Reset the stream and notify the peer; may be called again."""
        if not self.closed:
            self.abandon()
            self._conn.queue(Type.WINDOW, Flag.RST, self.stream_id, 0)
        self.forget_if_done()

    @override
    def set_deadline(self, ttl: int) -> None:
        raise NotImplementedError("use a trio cancel scope")

    @override
    def get_remote_address(self) -> tuple[str, int] | None:
        return self._conn.get_remote_address()

    @override
    async def __aenter__(self) -> Stream:
        return self

    @override
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.close()

    async def wait_closed(self) -> None:
        """Wait until the stream was reset, or its connection has ended."""
        while not self.closed:
            await self._changed.wait()

    @property
    def done(self) -> bool:
        """Whether neither side will send any more data."""
        return self._reset or (self._eof and self._fin_sent)

    def forget_if_done(self) -> None:
        """If neither side will send any more data, make the connection drop this stream."""
        if self.done:
            self.closed = True
            self._conn.forget(self.stream_id)

    def awaits_close(self, since: float) -> bool:
        """Whether the stream was closed and last read here before `since`, but the peer left it
        open."""
        return self._fin_sent and not self._eof and not self._readers and self._used < since

    def take(self, data: bytes | memoryview) -> bool:
        """Buffer received data. Return False if the peer sent more than its window allows, or sent
        data after it ended the stream."""
        self._credit -= len(data)
        if self._credit < 0 or self._eof:
            return False
        self._buffer += data
        self._conn.count_unread(len(data))
        self._wake()
        return True

    def granted(self, increment: int) -> None:
        """Note that the peer allows us to send `increment` more bytes."""
        self._send_window += increment
        self._wake()

    def ended(self) -> None:
        """Note that the peer will send no more data."""
        self._eof = True
        self._wake()

    def abandon(self) -> None:
        """Note that the stream was reset: drop unread data."""
        self._reset = True
        self._conn.count_unread(-len(self._buffer))
        self._buffer = bytearray()
        self.cut()

    def cut(self) -> None:
        """Note that the connection has ended; received data may still be read."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
