"""Stock js-libp2p and we understand each other: gossip, streams, their ends, and each other's loss.

The versions are those of package-lock.json.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
import trio
from driving import StockPeer
from jspeer import js_peer
from ours import ECHO, MEGABYTES, PATIENCE, TOPIC, Ours, bundles, ours

from methrics._vendor.libp2p.network.stream.exceptions import StreamError
from methrics._vendor.libp2p.peer.id import ID


async def meet(js: StockPeer, it: Ours, dialler: str) -> None:
    """Connect, and wait until each knows that the other has joined."""
    await js.order("join", topic=TOPIC)
    if dialler == "js":
        await js.order("dial", addr=it.addr)
    else:
        it.swarm.keep(js.addr)
    with trio.fail_after(PATIENCE):
        await it.swarm.wait_for_peers(TOPIC, 1)
    await js.until(event="joined", topic=TOPIC, peer=it.swarm.peer_id)


@pytest.mark.parametrize("dialler", ["js", "we"])
@pytest.mark.parametrize("naming", ["content", "default"])
async def test_fifty_bundles_each_way(js_script: Path, naming: str, dialler: str) -> None:
    rng = random.Random(naming + dialler)
    theirs, own = bundles(50, rng), bundles(50, rng)
    async with ours() as it, js_peer(js_script, naming) as js:
        await meet(js, it, dialler)
        for data in theirs:
            assert await js.publish(TOPIC, data) == 1
        await it.until_accepted(theirs)
        for data in own:
            assert await it.swarm.publish(TOPIC, data) == 1
        await js.until_delivered(TOPIC, own)
        assert sorted(it.accepted) == sorted(theirs)
        assert len(js.digests(TOPIC)) == len(own), "each once, and no echo of its own"
        counts = it.swarm.statistics()
        assert (counts.accepted, counts.rejected, counts.malformed) == (50, 0, 0)
        assert (counts.limited, counts.contained, counts.unsent) == (0, 0, 0)


async def test_bundles_pass_through_us_from_one_js_peer_to_another(js_script: Path) -> None:
    """One signs, we judge and forward, the other verifies; their message ids differ from ours."""
    rng = random.Random(3)
    first, second = bundles(20, rng), bundles(20, rng)
    async with (
        ours() as it,
        js_peer(js_script, "content") as one,
        js_peer(js_script, "default") as two,
    ):
        await meet(one, it, "js")
        await meet(two, it, "js")
        for data in first:
            await one.publish(TOPIC, data)
        await two.until_delivered(TOPIC, first)
        for data in second:
            await two.publish(TOPIC, data)
        await one.until_delivered(TOPIC, second)
        assert it.swarm.statistics().rejected == 0


async def test_megabytes_over_one_stream_in_both_directions(js_script: Path) -> None:
    """Twenty times the first window each way: every window update has to be right."""
    async with ours() as it, js_peer(js_script, "content") as js:
        await meet(js, it, "js")
        done = await js.order("request", addr=it.addr, protocol=ECHO, size=MEGABYTES)
        assert done == {"size": MEGABYTES, "same": True}
        body = random.Random(5).randbytes(MEGABYTES)
        replies: list[bytes] = []

        async def ask() -> None:
            reply = await it.swarm.request(
                js.peer_id, ECHO, body, reply_max=MEGABYTES, timeout=PATIENCE
            )
            replies.append(reply)

        async with trio.open_nursery() as nursery:  # all at once, and gossip in between
            for _ in range(3):
                nursery.start_soon(ask)
            messages = bundles(10, random.Random(6))
            for data in messages:
                await it.swarm.publish(TOPIC, data)
        assert replies == [body[::-1]] * 3
        await js.until_delivered(TOPIC, messages)
        assert it.swarm.statistics().contained == 0


async def test_ping_both_ways(js_script: Path) -> None:
    async with ours() as it, js_peer(js_script, "content") as js:
        await meet(js, it, "we")
        assert await js.order("ping", addr=it.addr) >= 0
        stream = await it.swarm._host.new_stream(ID.from_string(js.peer_id), ["/ipfs/ping/1.0.0"])
        await stream.write(bytes(range(32)))
        got = b""
        while len(got) < 32:
            got += await stream.read(32 - len(got))
        assert got == bytes(range(32))
        await stream.close()
        await trio.sleep(2)  # four of our pings, four of theirs: a wrong answer ends the connection
        assert it.swarm.peers(TOPIC) == {js.peer_id}
        assert not [e for e in js.events if e["event"] == "disconnect"]


async def test_half_closed_stream_still_carries_the_answer(js_script: Path) -> None:
    async with ours() as it, js_peer(js_script, "content") as js:
        await meet(js, it, "js")
        stream = await it.swarm._host.new_stream(ID.from_string(js.peer_id), ["/interop/half/1"])
        await stream.write(bytes(700_000))
        await stream.close_write()
        got = b""
        with trio.fail_after(PATIENCE), pytest.raises(StreamError):
            while True:
                got += await stream.read(100)
        assert got == hashlib.sha256(bytes(700_000)).digest()


async def test_streams_broken_off_by_either_side_leave_nothing_behind(js_script: Path) -> None:
    async with ours() as it, js_peer(js_script, "content") as js:
        await meet(js, it, "js")
        muxer = it.swarm._host.get_network().get_connections(ID.from_string(js.peer_id))[0]
        gossip = 2  # one stream each way
        for _ in range(50):
            await js.order("abandon", addr=it.addr, protocol=ECHO)
            stream = await it.swarm._host.new_stream(
                ID.from_string(js.peer_id), ["/interop/abort/1"]
            )
            await stream.write(b"x")
            with trio.fail_after(PATIENCE), pytest.raises(StreamError):
                while True:
                    await stream.read(1)
            await stream.reset()
            stream = await it.swarm._host.new_stream(ID.from_string(js.peer_id), [ECHO])
            await stream.write(b"\0\0")
            await stream.reset()
        with trio.fail_after(PATIENCE):
            while (len(muxer.muxed_conn._streams), await js.order("streams")) != (gossip, gossip):
                await trio.sleep(0.05)
        messages = bundles(5, random.Random(9))
        for data in messages:
            await it.swarm.publish(TOPIC, data)
        await js.until_delivered(TOPIC, messages)


async def test_killed_js_peer_is_noticed_and_another_takes_its_place(js_script: Path) -> None:
    async with ours() as it:
        async with js_peer(js_script, "content") as js:
            await meet(js, it, "js")
            js.process.kill()
            with trio.fail_after(PATIENCE):
                while it.swarm.peers(TOPIC):
                    await trio.sleep(0.02)
        async with js_peer(js_script, "content") as js:
            await meet(js, it, "js")
            (data,) = bundles(2, random.Random(1))[:1]
            await js.publish(TOPIC, data)
            await it.until_accepted([data])


async def test_js_notices_that_we_have_gone_and_finds_us_again(js_script: Path) -> None:
    async with js_peer(js_script, "content") as js:
        for n in range(2):
            async with ours() as it:
                await meet(js, it, "js" if n else "we")
                (data,) = bundles(2, random.Random(n))[1:]
                await js.publish(TOPIC, data)
                await it.until_accepted([data])
            await js.until(event="disconnect", peer=it.swarm.peer_id)


async def test_js_hanging_up_is_a_clean_end(js_script: Path) -> None:
    async with ours() as it, js_peer(js_script, "content") as js:
        await meet(js, it, "js")
        await js.order("hangUp", addr=it.addr)
        with trio.fail_after(PATIENCE):
            while it.swarm.statistics().connections:
                await trio.sleep(0.02)
        await meet(js, it, "js")
        assert it.swarm.statistics().contained == 0
