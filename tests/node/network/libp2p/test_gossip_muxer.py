"""Yamux over a pipe in memory: its rules, its bounds, and breaches of both."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from muxer_ends import Ends, Raw, read_all

from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)
from methrics.node.network.libp2p import frames
from methrics.node.network.libp2p.frames import Flag, Type
from methrics.node.network.libp2p.muxer import UNREAD_MAX, stream_shares
from methrics.node.network.libp2p.settings import GossipSettings


async def test_large_transfers_both_ways_at_once(autojump_clock: object) -> None:
    data = random.Random(1).randbytes(3_000_000)
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery)
        here, there = await ends.stream()
        got: list[bytes] = []

        async def receive(stream: Any) -> None:
            got.append(await read_all(stream, len(data)))

        with trio.fail_after(60):
            async with trio.open_nursery() as inner:
                inner.start_soon(here.write, data)
                inner.start_soon(there.write, data)
                inner.start_soon(receive, here)
                inner.start_soon(receive, there)
        assert got == [data, data]
        await ends.one.close()


async def test_half_close_and_end(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery)
        here, there = await ends.stream()
        await here.write(b"question")
        await here.close()
        assert await there.read(100) == b"question"
        with pytest.raises(MuxedStreamEOF):
            await there.read(100)
        await there.write(b"answer")
        await there.close()
        assert await here.read(3) == b"ans"
        assert await here.read() == b"wer"
        with pytest.raises(MuxedStreamEOF):
            await here.read()
        with pytest.raises(MuxedStreamClosed):
            await here.write(b"late")
        await trio.testing.wait_all_tasks_blocked()
        assert ends.one._streams == ends.two._streams == {}
        await ends.one.close()


async def test_reset_wakes_the_other_side(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery)
        here, there = await ends.stream()
        await here.reset()
        with pytest.raises(MuxedStreamReset):
            await there.read()
        assert ends.one._streams == {}
        await ends.one.close()


async def test_closing_the_connection_ends_everything(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery)
        here, there = await ends.stream()
        await ends.one.close()
        await ends.one.close()
        with pytest.raises(MuxedStreamReset):
            await there.read()
        with pytest.raises(MuxedConnUnavailable):
            await ends.two.accept_stream()
        with pytest.raises(MuxedStreamError):
            await ends.one.open_stream()
        with pytest.raises(MuxedStreamClosed):
            await here.write(b"x")


async def test_writer_waits_for_the_reader_and_then_gives_up(autojump_clock: object) -> None:
    settings = GossipSettings(write_time_max=10, keepalive=4)
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery, settings)
        here, there = await ends.stream()
        began = trio.current_time()
        with pytest.raises(MuxedStreamError):
            await here.write(bytes(frames.WINDOW + 1))
        assert trio.current_time() - began == pytest.approx(10, abs=1)
        assert ends.two.unread == frames.WINDOW
        assert not ends.one.is_closed, "a stalled stream does not end its connection"
        await there.reset()
        assert ends.two.unread == 0
        await ends.one.close()


async def test_a_pause_of_the_reader_does_not_break_the_stream(autojump_clock: object) -> None:
    """Stock breaks the stream after 5 s."""
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery)
        here, there = await ends.stream()
        nursery.start_soon(here.write, bytes(frames.WINDOW * 2))
        await trio.sleep(20)
        with trio.fail_after(5):
            assert len(await read_all(there, frames.WINDOW * 2)) == frames.WINDOW * 2
        await ends.one.close()


async def test_silent_connection_is_dropped(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, GossipSettings(keepalive=15))
        began = trio.current_time()
        await raw.until_closed()
        assert 30 <= trio.current_time() - began <= 60


async def test_living_connection_is_kept(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery)
        await trio.sleep(600)
        assert ends.one.is_established
        assert ends.two.is_established
        await ends.one.close()


async def test_sending_past_the_window_closes_the_connection(autojump_clock: object) -> None:
    """Stock keeps all of it."""
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery)
        await raw.wire.send_all(frames.pack(Type.WINDOW, Flag.SYN, 1, 0))
        for _ in range(5):
            header = frames.pack(Type.DATA, 0, 1, 60_000)
            await raw.wire.send_all(header + bytes(60_000))
        await raw.until_closed()
        assert raw.muxer.unread == 0


async def test_unread_bytes_are_bounded_over_all_streams(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery)
        most = 0
        for stream_id in range(1, 41, 2):
            frame = frames.pack(Type.DATA, Flag.SYN, stream_id, frames.WINDOW)
            try:
                await raw.wire.send_all(frame + bytes(frames.WINDOW))
                await trio.testing.wait_all_tasks_blocked()
            except trio.BrokenResourceError:
                break
            most = max(most, raw.muxer.unread)
        await raw.until_closed()
        assert most <= UNREAD_MAX


async def test_streams_of_a_peer_are_bounded(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery, GossipSettings(streams_per_peer=4))
        for stream_id in range(1, 101, 2):
            await raw.wire.send_all(frames.pack(Type.WINDOW, Flag.SYN, stream_id, 0))
        await trio.testing.wait_all_tasks_blocked()
        assert len(raw.muxer._streams) == 4
        assert raw.muxer.is_established
        await raw.muxer.close()


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"\x01" + bytes(11), id="version"),
        pytest.param(b"\x00\x04" + bytes(10), id="type"),
        pytest.param(frames.pack(Type.DATA, 0, 0, 0), id="data on stream 0"),
        pytest.param(frames.pack(Type.PING, Flag.SYN, 3, 0), id="ping on a stream"),
        pytest.param(frames.pack(Type.DATA, Flag.SYN, 1, 2**32 - 1), id="huge frame"),
        pytest.param(frames.pack(Type.GO_AWAY, 0, 0, 0), id="go away"),
    ],
)
async def test_breach_of_the_protocol_closes_the_connection(
    autojump_clock: object, bad: bytes
) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery)
        await raw.wire.send_all(bad)
        with trio.fail_after(1):
            await raw.until_closed()


async def test_ping_flood_without_reading_is_dropped(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        raw = Raw(nursery)
        pings = frames.pack(Type.PING, Flag.SYN, 0, 7) * 1000
        await raw.wire.send_all(pings)
        with trio.fail_after(1):
            await raw.until_closed()


HEADERS = st.builds(
    lambda kind, flags, stream_id, length, body: frames.pack(kind, flags, stream_id, length) + body,
    st.sampled_from(Type),
    st.integers(0, 15),
    st.integers(0, 6),
    st.integers(0, 40) | st.integers(0, 2**32 - 1),
    st.binary(max_size=40),
)


@given(st.lists(HEADERS | st.binary(max_size=30), max_size=20))
def test_no_bytes_raise_out_of_a_muxer(parts: list[bytes]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            raw = Raw(nursery)
            for part in parts:
                try:
                    await raw.wire.send_all(part)
                except trio.BrokenResourceError:
                    break
            await trio.testing.wait_all_tasks_blocked()
            assert raw.muxer.unread <= UNREAD_MAX
            assert len(raw.muxer._streams) <= 32
            await raw.muxer.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def peer(n: int) -> ID:
    return ID(b"\x00\x01" + bytes([n]))


async def test_attack_many_connections_stay_within_the_streams_of_the_host(
    autojump_clock: object,
) -> None:
    settings = GossipSettings(streams_max=6, streams_listed=2, streams_per_peer=4)
    pool = stream_shares(settings)
    async with trio.open_nursery() as nursery:
        ends = [
            Raw(nursery, settings, all_streams=pool, peer_id=peer(n), listed={peer(5)})
            for n in range(6)
        ]
        for end in ends[:4]:
            assert await end.opens(1)
        assert not await ends[4].opens(1), "no other connection is idle, or has more"
        await trio.sleep(10)
        assert await ends[4].opens(3), "it takes the place of an idle one"
        assert pool.used == 4
        assert sum(end.muxer.is_ending for end in ends) == 1
        for stream_id in (1, 3):
            assert await ends[5].opens(stream_id), "some are kept for listed peers"
        assert pool.used == 6
        nursery.cancel_scope.cancel()


async def test_attack_peers_of_no_known_network_do_not_keep_another_out(
    autojump_clock: object,
) -> None:
    """Two busy peers hold all streams. A third, of no known network either, gets one."""
    settings = GossipSettings(streams_max=10, streams_listed=2, streams_per_peer=4)
    pool = stream_shares(settings)
    async with trio.open_nursery() as nursery:
        ends = [Raw(nursery, settings, all_streams=pool, peer_id=peer(n)) for n in range(3)]
        for end in ends[:2]:
            for stream_id in (1, 3, 5, 7):
                assert await end.opens(stream_id)
        for _ in range(20):
            await trio.sleep(1)
            for end in ends[:2]:
                end.muxer.progress(1000)
        assert await ends[2].opens(1)
        nursery.cancel_scope.cancel()


async def test_connection_that_makes_room_takes_no_stream_while_it_ends(
    autojump_clock: object,
) -> None:
    async with trio.open_nursery() as nursery:
        end = Raw(nursery)
        end.muxer.end(frames.GoAway.NORMAL)
        assert not end.muxer._may_take_stream()
        nursery.cancel_scope.cancel()
