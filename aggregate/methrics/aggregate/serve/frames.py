"""The frames in which a worker answers: kind (1 byte), length (4 bytes, big endian), content. Pure.

The answer to a question is one frame ERROR; or a frame READY, some frames ARROW and one frame END.
An error after READY stands in the Arrow stream itself: see `read/live.py`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

READY = b"R"
"""The question runs: JSON with `written`, when the data were written (ISO 8601)."""
ARROW = b"A"
"""Bytes of an Arrow IPC stream."""
END = b"Z"
"""The whole answer was sent: empty."""
ERROR = b"E"
"""JSON with `code`, `message` and `hint` of an error, before any Arrow."""
JSON = b"J"
"""The answer to anything but a question: JSON."""

HEAD = struct.Struct(">cI")

FRAME_MAX = 64 * 1024 * 1024
"""Maximum content in bytes. A batch of rows is cut into frames well below it."""

PIECE = 256 * 1024
"""Bytes of Arrow in one frame: the step in which a slow reader holds the worker back."""


class Frame(NamedTuple):
    """One frame."""

    kind: bytes
    content: bytes

    def encode(self) -> bytes:
        """Return the frame as bytes."""
        return HEAD.pack(self.kind, len(self.content)) + self.content


def decode_head(head: bytes) -> tuple[bytes, int]:
    """Return the kind and the length that the five bytes `head` tell. Raises ValueError."""
    kind, length = HEAD.unpack(head)
    if kind not in (READY, ARROW, END, ERROR, JSON) or length > FRAME_MAX:
        raise ValueError("this is no frame")
    return kind, length
