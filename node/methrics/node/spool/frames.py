"""Frames of a spool file: a marker, a length, a checksum and the payload (pure).

    marker (4 bytes) | length of the payload (2) | CRC-32 of the payload (4) | payload

A process may be killed while it writes, a full disk may cut a frame, and anybody may truncate the
file. So a reader that finds damage searches for the next marker with a valid frame behind it, and
loses only the damaged frame.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

MARK = b"\xd1\x5bMS"
"""The first bytes of each frame. Its first byte is not valid in CBOR text or names."""

HEAD = Struct(">4sHI")
"""The marker, the length of the payload in bytes, and the CRC-32 (zlib) of the payload."""

PAYLOAD_MAX = 16 * 1024
"""Most bytes of a payload. A longer one cannot be recorded, and a length above it is damage."""


def frame(payload: bytes) -> bytes:
    """Returns `payload` as a frame. Raises ValueError if it is empty, because zeros behind a marker
    would then be a frame, or longer than PAYLOAD_MAX bytes."""
    length = len(payload)
    if not 0 < length <= PAYLOAD_MAX:
        raise ValueError(f"a spooled record has 1 to {PAYLOAD_MAX} bytes, not {length}")
    return HEAD.pack(MARK, length, crc32(payload)) + payload
