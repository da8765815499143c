"""Yamux frames as bytes (pure): 12 bytes of header, then the payload of a data frame."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

_HEADER = struct.Struct("!BBHII")
HEADER = _HEADER.size

WINDOW = 256 * 1024
"""Bytes a peer may send ahead on a new stream (fixed by the protocol)."""

PAYLOAD_MAX = 65_535 - 16 - HEADER
"""Bytes of payload we put in a frame: frame and header fill one Noise message."""

_RECEIVED_MAX = 1024 * 1024
"""Bytes of payload we take in one frame; no window of ours is larger."""


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


class Header(NamedTuple):
    kind: Type
    flags: int
    stream_id: int
    length: int


def pack(kind: Type, flags: int, stream_id: int, length: int) -> bytes:
    """The header of a frame."""
    return _HEADER.pack(0, kind, flags, stream_id, length)


def unpack(data: bytearray, at: int) -> Header | None:
    """The header at `at`; None if it is incomplete, or no header of yamux version 0."""
    if len(data) - at < HEADER:
        return None
    version, kind, flags, stream_id, length = _HEADER.unpack_from(data, at)
    if version != 0 or kind > Type.GO_AWAY:
        return None
    return Header(Type(kind), flags, stream_id, length)


def broken(data: bytearray) -> bool:
    """Whether `data`, where a frame should begin, can begin none."""
    return len(data) >= HEADER and (data[0] != 0 or data[1] > Type.GO_AWAY)


def allowed(header: Header) -> bool:
    """Whether a frame keeps the rules that concern it alone."""
    if header.kind is Type.DATA:
        return header.stream_id != 0 and header.length <= _RECEIVED_MAX
    if header.kind is Type.WINDOW:
        return header.stream_id != 0
    return header.stream_id == 0
