"""The published vectors of frames and gossip messages, against this implementation."""

from __future__ import annotations

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from request_vectors import names, octets, vector

from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics.node.mesh.wire import WireError, decode
from methrics.node.network.libp2p.requests import OversizeError, read_message
from methrics.node.network.libp2p.signing import validly_signed


class Stream:
    """Bytes that arrive a few at a time, and then the end."""

    def __init__(self, data: bytes, piece: int) -> None:
        self.data = data
        self.piece = piece

    async def read(self, n: int) -> bytes:
        part, self.data = self.data[: min(n, self.piece)], self.data[min(n, self.piece) :]
        return part


def read(data: bytes, limit: int, piece: int = 7) -> bytes | None:
    """The body of the message in `data`, or None if none can be had; never waits."""
    steps = read_message(Stream(data, piece), limit)  # type: ignore[arg-type]
    try:
        steps.send(None)
    except StopIteration as done:
        body: bytes = done.value
        return body
    except (OversizeError, BaseLibp2pError):
        return None
    raise AssertionError("a stream of bytes at hand never waits")


@pytest.mark.parametrize("name", names("frame"))
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_a_frame_is_read_as_the_vector_says(name: str, piece: int) -> None:
    given = vector(name)
    body = read(octets(given["stream"]), given["limit"], piece)
    expect = given["expect"]
    assert body == (octets(expect["body"]) if expect["result"] == "ok" else None)


@drawn(st.binary(max_size=60), st.integers(0, 40), st.integers(1, 9))
def test_any_stream_gives_its_first_body_or_none(data: bytes, limit: int, piece: int) -> None:
    length = int.from_bytes(data[:4], "big")
    whole = len(data) >= 4 and length <= limit and len(data) - 4 >= length
    assert read(data, limit, piece) == (data[4 : 4 + length] if whole else None)


def framed(message: bytes) -> bytes:
    """A frame with one message, without the length of the frame."""
    size, head = len(message), bytearray(b"\x12")
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(head) + bytes([size]) + message


@pytest.mark.parametrize("name", names("message"))
def test_a_message_is_signed_or_not_as_the_vector_says(name: str) -> None:
    given = vector(name)
    expect = given["expect"]
    try:
        (message,) = decode(framed(octets(given["message"]))).messages
    except WireError:
        assert expect["result"] != "ok"
        return
    right = message.topic != "" and validly_signed(message)
    assert right is (expect["result"] == "ok")
    if expect["result"] == "ok":
        assert message.topic == expect["topic"]
        assert (message.data, message.sender) == (octets(expect["data"]), octets(expect["from"]))
        assert message.content == octets(expect["id"])
