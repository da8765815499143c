"""Agreeing on a protocol with a stranger: what is read, and that it ends nothing here."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from methrics._vendor.libp2p.crypto.ed25519 import create_new_key_pair
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from methrics._vendor.libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from methrics._vendor.libp2p.utils import encode_delim, encode_uvarint
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.negotiation import NAME_MAX
from methrics.node.network.libp2p.requests import Requests
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.schema.errors import ConfigError, UnreachableError

PEER = ID.from_pubkey(create_new_key_pair(bytes(32)).public_key)


class Stream:
    """A stream that has these bytes, in pieces, and then ends or breaks."""

    def __init__(self, data: bytes, piece: int = 65_536, end: Exception | None = None) -> None:
        self.left = data
        self.asked = 0
        """The most bytes that were asked for at once."""
        self._piece = piece
        self._end = end
        self.was_reset = False

    async def read(self, n: int) -> bytes:
        self.asked = max(self.asked, n)
        if not self.left and self._end is not None:
            raise self._end
        part = self.left[: min(n, self._piece)]
        self.left = self.left[len(part) :]
        return part

    async def write(self, data: bytes) -> None: ...
    async def close(self) -> None: ...
    async def reset(self) -> None:
        self.was_reset = True


def read(stream: Stream) -> str:
    """Read one message as libp2p does. The bytes are there, so it never waits."""
    reading = MultiselectCommunicator(stream).read()  # type: ignore[arg-type]
    try:
        reading.send(None)
    except StopIteration as done:
        return str(done.value)
    raise AssertionError("the reading of bytes that are there waits")


@given(st.lists(st.text(max_size=200), max_size=5), st.integers(1, 100))
def test_names_are_read_as_they_were_written_and_nothing_after(
    names: list[str], piece: int
) -> None:
    stream = Stream(b"".join(encode_delim(name.encode()) for name in names) + b"rest", piece)
    assert [read(stream) for _ in names] == names
    assert stream.left == b"rest"


def test_the_longest_name_is_read_and_a_longer_one_is_not() -> None:
    assert len(read(Stream(encode_delim(b"x" * (NAME_MAX - 1))))) == NAME_MAX - 1
    stream = Stream(encode_delim(b"x" * NAME_MAX))
    with pytest.raises(MultiselectCommunicatorError):
        read(stream)
    assert len(stream.left) == NAME_MAX + 1


@given(st.binary(max_size=50), st.integers(1, 100))
def test_attack_any_bytes_in_a_negotiation_raise_the_error_that_is_expected(
    data: bytes, piece: int
) -> None:
    with contextlib.suppress(MultiselectCommunicatorError):
        read(Stream(data, piece))


@pytest.mark.parametrize(
    "data", [encode_delim(b"\xff\xfe"), b"\x05hello", b"\x00", b"\x80\x80\x01", b"\x06half", b""]
)
def test_attack_what_is_no_name_is_refused(data: bytes) -> None:
    with pytest.raises(MultiselectCommunicatorError):
        read(Stream(data))


def test_a_stream_that_breaks_in_any_way_is_refused() -> None:
    with pytest.raises(MultiselectCommunicatorError):
        read(Stream(b"", end=trio.BrokenResourceError()))


def test_attack_a_huge_announced_length_makes_nobody_read_or_wait() -> None:
    for length in (NAME_MAX + 1, 2**14, 2**40, 2**63):
        stream = Stream(encode_uvarint(length) + b"x" * 100_000)
        with pytest.raises(MultiselectCommunicatorError):
            read(stream)
        assert stream.asked <= NAME_MAX
        assert len(stream.left) >= 100_000


class Host:
    """A host whose peer gives one stream, or an error."""

    def __init__(self, found: Stream | Exception) -> None:
        self._found = found

    async def new_stream(self, *_: object) -> Stream:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


def asking(found: Stream | Exception) -> tuple[Requests, Counters]:
    counters, network = Counters(), SimpleNamespace(listed=set())
    host: Any = Host(found)
    return Requests(host, network, GossipSettings(), counters), counters  # type: ignore[arg-type]


async def test_a_reply_is_returned() -> None:
    stream = Stream((5).to_bytes(4, "big") + b"reply")
    assert await asking(stream)[0].ask(PEER, "/a/1", b"", 10) == b"reply"
    assert not stream.was_reset


@pytest.mark.parametrize(
    "surprise", [UnicodeError("x"), IndexError("x"), trio.ClosedResourceError()]
)
@pytest.mark.parametrize("late", [False, True])
async def test_attack_no_answer_of_a_peer_raises_another_error_than_unreachable(
    surprise: Exception, late: bool
) -> None:
    """An error that its caller does not expect would end a relay or an aggregator."""
    found = Stream(b"\0\0", end=surprise) if late else surprise
    requests, counters = asking(found)
    with pytest.raises(UnreachableError):
        await requests.ask(PEER, "/a/1", b"", 10)
    assert counters.contained == 1
    assert not late or found.was_reset  # type: ignore[union-attr]


async def test_an_error_of_the_body_passes() -> None:
    async def held() -> bytes:
        raise ConfigError("held", "not now")

    stream = Stream(b"")
    requests, counters = asking(stream)
    with pytest.raises(ConfigError):
        await requests.ask(PEER, "/a/1", held, 10)
    assert stream.was_reset
    assert counters.contained == 0
