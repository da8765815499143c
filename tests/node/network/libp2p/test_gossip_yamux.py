"""The muxer against the yamux specification, cancellation, and random use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from muxer_ends import Ends, Raw, read_all

from methrics._vendor.libp2p.stream_muxer.exceptions import (
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)
from methrics.node.network.libp2p import frames
from methrics.node.network.libp2p.frames import Flag, GoAway, Header, Type
from methrics.node.network.libp2p.muxer import Unread
from methrics.node.network.libp2p.settings import GossipSettings

NO_PINGS = GossipSettings(keepalive=10_000)


def sent(kind: Type, flags: int, stream_id: int, length: int) -> frames.Piece:
    return frames.Piece(Header(kind, flags, stream_id, length), b"", True, True)


def bye(reason: GoAway) -> frames.Piece:
    return sent(Type.GO_AWAY, 0, 0, reason)


FRAMES = st.lists(
    st.builds(
        lambda flags, stream_id, body: (
            frames.pack(Type.DATA, flags, stream_id, len(body)) + body
            if body is not None
            else frames.pack(Type.WINDOW, flags, stream_id, 7)
        ),
        st.integers(0, 15),
        st.integers(1, 2**32 - 1),
        st.none() | st.binary(max_size=50),
    ),
    max_size=8,
)


@given(FRAMES, st.data())
def test_frames_are_the_same_however_they_arrive(parts: list[bytes], data: st.DataObject) -> None:
    def joined(pieces: list[frames.Piece]) -> list[tuple[Header, bytes]]:
        whole: list[tuple[Header, bytes]] = []
        for piece in pieces:
            body = b"" if piece.first else whole.pop()[1]
            whole.append((piece.header, body + piece.payload))
            assert piece.last == (
                piece.header.kind is not Type.DATA or len(whole[-1][1]) == piece.header.length
            )
        return whole

    raw = b"".join(parts)
    parser = frames.Parser()
    pieces = []
    at = 0
    while at < len(raw):
        size = data.draw(st.integers(1, 40))
        pieces += list(parser.feed(raw[at : at + size]))
        at += size
    expected = [piece for part in parts for piece in frames.Parser().feed(part)]
    assert joined(pieces) == joined(expected)
    assert len(expected) == len(parts)


@pytest.mark.parametrize("nonce", [0, 1, 7, 2**32 - 1])
async def test_ping_is_answered_with_its_number(autojump_clock: object, nonce: int) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, NO_PINGS)
        await raw.wire.send_all(frames.pack(Type.PING, Flag.SYN, 0, nonce))
        assert await raw.answers() == [sent(Type.PING, Flag.ACK, 0, nonce)]
        await raw.wire.send_all(frames.pack(Type.PING, Flag.ACK, 0, nonce))
        assert await raw.answers() == []
        await raw.muxer.close()


async def test_new_stream_is_acknowledged(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, NO_PINGS)
        await raw.accepted(1)
        assert await raw.answers() == [sent(Type.WINDOW, Flag.ACK, 1, 0)]
        opened = await raw.muxer.open_stream()
        assert opened.stream_id == 2
        assert await raw.answers() == [sent(Type.WINDOW, Flag.SYN, 2, 0)]
        await raw.muxer.close()


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(frames.pack(Type.WINDOW, Flag.SYN, 2, 0), id="number of our own"),
        pytest.param(frames.pack(Type.DATA, Flag.SYN, 1, 0), id="number in use"),
        pytest.param(frames.pack(Type.DATA, 0, 1, 300_000), id="more than the window"),
        pytest.param(b"\x09" + bytes(11), id="version"),
    ],
)
async def test_a_breach_is_answered_with_a_protocol_error(
    autojump_clock: object, frame: bytes
) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, NO_PINGS)
        await raw.accepted(1)
        await raw.wire.send_all(frame + bytes(300_000))
        await raw.until_closed()
        assert (await raw.answers())[-1] == bye(GoAway.PROTOCOL_ERROR)


async def test_close_sends_a_normal_go_away_which_is_not_answered(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, NO_PINGS)
        await trio.testing.wait_all_tasks_blocked()
        await raw.muxer.close()
        assert await raw.answers() == [bye(GoAway.NORMAL)]
        for code in GoAway:
            raw = Raw(nursery, NO_PINGS)
            await raw.wire.send_all(frames.pack(Type.GO_AWAY, 0, 0, code))
            await raw.until_closed()
            assert await raw.answers() == []


async def test_frames_for_a_stream_that_has_ended_are_dropped(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, NO_PINGS)
        stream = await raw.accepted(1)
        await stream.reset()
        await raw.wire.send_all(
            frames.pack(Type.DATA, 0, 1, 5)
            + b"later"
            + frames.pack(Type.WINDOW, Flag.FIN, 1, 3)
            + frames.pack(Type.DATA, 0, 99, 5)
            + b"never"
        )
        await trio.testing.wait_all_tasks_blocked()
        assert raw.muxer.is_established
        assert raw.muxer.unread == 0
        again = await raw.accepted(1)  # its number is free again
        await raw.wire.send_all(frames.pack(Type.DATA, Flag.FIN, 1, 3) + b"new")
        assert await again.read() == b"new"
        await raw.muxer.close()


async def test_data_after_the_end_is_a_breach(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, NO_PINGS)
        await raw.accepted(1)
        await raw.wire.send_all(frames.pack(Type.DATA, Flag.FIN, 1, 1) + b"x")
        await raw.wire.send_all(frames.pack(Type.DATA, 0, 1, 1) + b"y")
        with trio.fail_after(1):
            await raw.until_closed()


async def test_windows_of_any_size_are_taken(autojump_clock: object) -> None:
    """Four grants of the largest increment: no arithmetic of 32 bits here to overflow."""
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, NO_PINGS)
        stream = await raw.accepted(1)
        for _ in range(4):
            await raw.wire.send_all(frames.pack(Type.WINDOW, 0, 1, 2**32 - 1))
        with trio.fail_after(1):
            await stream.write(bytes(3_000_000))
        assert sum(len(p.payload) for p in await raw.answers()) == 3_000_000
        await raw.muxer.close()


async def test_number_of_own_streams_is_bounded(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, NO_PINGS)
        opened = [await raw.muxer.open_stream() for _ in range(256)]
        with pytest.raises(MuxedStreamError):
            await raw.muxer.open_stream()
        await opened[0].reset()
        await raw.muxer.open_stream()
        await raw.muxer.close()


async def test_closed_stream_that_the_peer_never_closes_is_reset_in_the_end(
    autojump_clock: object,
) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, GossipSettings(keepalive=10, close_wait_max=60))
        nursery.start_soon(keep_speaking, raw)
        left, read = await raw.muxer.open_stream(), await raw.muxer.open_stream()
        await left.close()
        await read.close()
        ends: list[type[Exception]] = []

        async def wait_for_answer() -> None:
            try:
                await read.read()
            except MuxedStreamReset:
                ends.append(MuxedStreamReset)

        nursery.start_soon(wait_for_answer)
        await trio.sleep(50)
        assert set(raw.muxer._streams) == {2, 4}
        await trio.sleep(50)
        assert set(raw.muxer._streams) == {4}, "only what nobody waits for any more"
        assert sent(Type.WINDOW, Flag.RST, 2, 0) in await raw.answers()
        await raw.muxer.close()
        await trio.testing.wait_all_tasks_blocked()
        assert ends == [MuxedStreamReset]
        nursery.cancel_scope.cancel()


async def keep_speaking(raw: Raw) -> None:
    while True:
        await trio.sleep(5)
        await raw.wire.send_all(frames.pack(Type.PING, Flag.ACK, 0, 0))


async def test_bytes_received_before_the_connection_ended_can_be_read(
    autojump_clock: object,
) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, NO_PINGS)
        ended, cut = await raw.accepted(1), await raw.accepted(3)
        await raw.wire.send_all(frames.pack(Type.DATA, Flag.FIN, 1, 200_000) + bytes(200_000))
        await raw.wire.send_all(frames.pack(Type.DATA, 0, 3, 4) + b"half")
        await raw.wire.send_all(frames.pack(Type.GO_AWAY, 0, 0, 0))
        await raw.until_closed()
        assert len(await read_all(ended, 200_000)) == 200_000
        with pytest.raises(MuxedStreamEOF):
            await ended.read()
        assert await cut.read(2) == b"ha"
        assert await cut.read(2) == b"lf"
        with pytest.raises(MuxedStreamReset):
            await cut.read()
        assert raw.muxer.unread == 0


async def test_the_connection_with_most_unread_bytes_is_closed_when_all_have_too_many(
    autojump_clock: object,
) -> None:
    unread = Unread(500_000)
    async with trio.open_nursery() as nursery:
        modest, greedy = Raw(nursery, all_unread=unread), Raw(nursery, all_unread=unread)
        await modest.accepted(1)
        await modest.wire.send_all(frames.pack(Type.DATA, 0, 1, 100_000) + bytes(100_000))
        for stream_id in (1, 3):
            await greedy.accepted(stream_id)
            frame = frames.pack(Type.DATA, 0, stream_id, 210_000)
            await greedy.wire.send_all(frame + bytes(210_000))
        await greedy.until_closed()
        assert modest.muxer.is_established
        assert unread.total == modest.muxer.unread == 100_000
        await modest.muxer.close()
        assert unread.total == 0


async def test_reading_does_not_wait_for_writing(autojump_clock: object) -> None:
    """We can read the data of a peer that has stopped reading."""
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, GossipSettings(keepalive=10_000, write_time_max=100), narrow=True)
        stream = await raw.accepted(1)
        nursery.start_soon(raw.wire.send_all, frames.pack(Type.DATA, 0, 1, 200_000))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(raw.wire.send_all, bytes(200_000))
        with trio.fail_after(1):
            assert len(await read_all(stream, 200_000)) == 200_000
        nursery.cancel_scope.cancel()


async def test_cancelled_write_gives_its_window_back(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, GossipSettings(keepalive=10_000, write_time_max=100), narrow=True)
        stream = await raw.accepted(1)  # whose acknowledgement is now stuck, and holds the lock
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await stream.write(bytes(1000))
        assert scope.cancelled_caught
        assert stream._send_window == frames.WINDOW
        with trio.move_on_after(1) as scope:
            await raw.muxer.open_stream()
        assert scope.cancelled_caught
        assert set(raw.muxer._streams) == {1}, "of a stream whose opening was cancelled nothing"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_ending_a_stream_works_in_a_cancelled_scope(autojump_clock: object, how: str) -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery)
        here, there = await ends.stream()
        with trio.CancelScope() as scope:
            scope.cancel()
            await getattr(here, how)()
        with trio.fail_after(1), pytest.raises((MuxedStreamEOF, MuxedStreamReset)):
            await there.read()
        await ends.one.close()


async def test_close_ends_a_write_that_waits_and_comes_after_what_was_written(
    autojump_clock: object,
) -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery)
        here, there = await ends.stream()
        began = trio.current_time()

        async def write() -> None:
            with pytest.raises(MuxedStreamClosed):
                await here.write(bytes(frames.WINDOW + 1000))

        async with trio.open_nursery() as inner:
            inner.start_soon(write)
            await trio.testing.wait_all_tasks_blocked()
            await here.close()
        assert trio.current_time() - began < 1
        assert len(await read_all(there, frames.WINDOW)) == frames.WINDOW
        with pytest.raises(MuxedStreamEOF):
            await there.read()
        assert ends.two.is_established
        await ends.one.close()


async def test_every_waiting_reader_wakes(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery)
        here, there = await ends.stream()
        got: list[bytes] = []

        async def read() -> None:
            got.append(await there.read(1))

        async with trio.open_nursery() as inner:
            for _ in range(3):
                inner.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(3):
                await here.write(b"x")
                await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(1):
                while len(got) < 3:
                    await trio.testing.wait_all_tasks_blocked()
        await ends.one.close()


@dataclass
class Side:
    """One end of one stream, and what it should have seen."""

    stream: Any
    wrote: bytes = b""
    read: bytes = b""
    closed: bool = False


@dataclass
class Talk:
    """A stream with its two ends; `reset` by either."""

    ends: tuple[Side, Side]
    reset: bool = False
    seed: int = field(default=0)

    async def write(self, at: int, size: int) -> None:
        side = self.ends[at]
        data = bytes((self.seed + i) % 251 for i in range(size))
        self.seed += size
        if self.reset or side.closed:
            with pytest.raises(MuxedStreamError):
                await side.stream.write(data)
            return
        before = side.stream._send_window
        with trio.move_on_after(1):
            await side.stream.write(data)
        side.wrote += data[: before - side.stream._send_window]

    async def take(self, at: int, most: int) -> None:
        side, other = self.ends[at], self.ends[1 - at]
        expected: type[BaseException] | None = None
        if self.reset:
            expected = MuxedStreamReset
        elif len(side.read) == len(other.wrote):
            expected = MuxedStreamEOF if other.closed else trio.TooSlowError
        try:
            with trio.fail_after(1):
                side.read += await side.stream.read(most)
        except (MuxedStreamReset, MuxedStreamEOF, trio.TooSlowError) as error:
            assert type(error) is expected
        else:
            assert expected is None
        assert other.wrote.startswith(side.read)

    async def close(self, at: int) -> None:
        await self.ends[at].stream.close()
        self.ends[at].closed = True

    async def break_off(self, at: int) -> None:
        over = all(side.closed for side in self.ends)
        await self.ends[at].stream.reset()
        self.reset = self.reset or not over

    def check_windows(self) -> None:
        """The bytes that one side may send equal those that the other side accepts."""
        for side, other in (self.ends, self.ends[::-1]):
            unread = len(side.wrote) - len(other.read)
            assert other.stream._credit == side.stream._send_window
            assert side.stream._send_window + unread + other.stream._consumed == frames.WINDOW


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(0, 1), st.just(0), st.just(0)),
        st.tuples(
            st.sampled_from(["write", "write", "take", "take", "close", "break_off"]),
            st.integers(0, 9),
            st.integers(0, 1),
            st.sampled_from([1, 100, 70_000, 140_000, 200_000]),
        ),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(STEPS)
def test_any_use_of_streams_gives_the_bytes_that_were_sent(
    steps: list[tuple[str, int, int, int]],
) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            ends = Ends(nursery, NO_PINGS)
            muxers = (ends.one, ends.two)
            talks: list[Talk] = []
            for do, which, at, size in steps:
                if do == "open":
                    stream = await muxers[which].open_stream()
                    both = [Side(stream), Side(await muxers[1 - which].accept_stream())]
                    talks.append(Talk((both[0], both[1])))
                elif talks:
                    talk = talks[which % len(talks)]
                    needs_size = do in ("write", "take")
                    await getattr(talk, do)(at, *([size] if needs_size else []))
                await trio.testing.wait_all_tasks_blocked()
                for talk in talks:
                    if not talk.reset and not any(side.closed for side in talk.ends):
                        talk.check_windows()
            await trio.testing.wait_all_tasks_blocked()
            assert ends.one.is_established
            assert ends.two.is_established
            for talk in talks:
                await talk.break_off(0)
            await trio.testing.wait_all_tasks_blocked()
            assert ends.one._streams == ends.two._streams == {}
            await ends.one.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
