"""Packs and parses yamux frames: 12 bytes of header, then the payload of a data frame (pure)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from typing import NamedTuple

_HEADER = struct.Struct("!BBHII")
HEADER = _HEADER.size

WINDOW = 256 * 1024
"""Bytes that a peer may send on a new stream before it gets more credit (fixed by the protocol)."""

PAYLOAD_MAX = 65_535 - 16 - HEADER
"""Most bytes of payload in a frame that we send: header and payload fill one Noise message."""

_RECEIVED_MAX = 1024 * 1024
"""Most bytes of payload in a frame that we accept: as many as our largest window."""


class Type(IntEnum):
    DATA = 0
    WINDOW = 1
    PING = 2
    GO_AWAY = 3


class Flag(IntFlag):
    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


class GoAway(IntEnum):
    """The reason for closing a connection, sent to the peer."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class Header(NamedTuple):
    kind: Type
    flags: int
    stream_id: int
    length: int


def pack(kind: Type, flags: int, stream_id: int, length: int) -> bytes:
    """Return the header of a frame as bytes."""
    return _HEADER.pack(0, kind, flags, stream_id, length)


class BrokenError(Exception):
    """The peer's bytes do not follow the yamux protocol."""


class Piece(NamedTuple):
    """A frame or a part of one, because a payload is passed on in pieces as its bytes arrive."""

    header: Header
    payload: bytes
    first: bool
    last: bool


class Parser:
    """Splits the bytes of a connection into frames. Buffers less than one header."""

    def __init__(self) -> None:
        self._pending = b""
        self._header: Header | None = None
        self._left = 0

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield the pieces in the bytes received so far. Raises `BrokenError` for a frame that
        breaks the protocol."""
        data = self._pending + data if self._pending else data
        self._pending = b""
        at = 0
        while True:
            header, first = self._header, False
            if header is None:
                if len(data) - at < HEADER:
                    self._pending = data[at:]
                    return
                header, first = _unpack(data, at), True
                at += HEADER
                self._left = header.length if header.kind is Type.DATA else 0
            payload = data[at : at + self._left]
            at += len(payload)
            self._left -= len(payload)
            self._header = header if self._left else None
            if payload or first:
                yield Piece(header, payload, first, not self._left)
            if self._left:
                return


def _unpack(data: bytes, at: int) -> Header:
    version, kind, flags, stream_id, length = _HEADER.unpack_from(data, at)
    if version != 0 or kind > Type.GO_AWAY:
        raise BrokenError("not a header of yamux version 0")
    if (kind <= Type.WINDOW) != (stream_id != 0):
        raise BrokenError("a stream frame with number 0, or another frame with a stream number")
    if kind == Type.DATA and length > _RECEIVED_MAX:
        raise BrokenError("a frame larger than any window")
    return Header(Type(kind), flags, stream_id, length)
