"""Reads bytes from the front of a message, and never beyond its end (pure)."""

from __future__ import annotations

from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason


def malformed(message: str) -> RefusedError:
    """Return the error for bytes that break the format."""
    return RefusedError(Reason.MALFORMED, message)


class Reader:
    """The bytes of `data` from position `at` on. Every method raises RefusedError `malformed` if
    there are not enough bytes."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    @property
    def left(self) -> int:
        """Number of bytes that were not read yet."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise malformed("the message is cut short")
        self._at, start = end, self._at
        return self._data[start:end]

    def number(self, size: int) -> int:
        """Return a number of `size` bytes, big-endian."""
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        """Return a variable-length integer (RFC 9000 section 16), in any of its lengths."""
        if self._at < len(self._data) and self._data[self._at] < 64:  # most numbers are small
            self._at += 1
            return self._data[self._at - 1]
        first = self.number(1)
        more = (1 << (first >> 6)) - 1
        return (first & 0x3F) << 8 * more | int.from_bytes(self.take(more), "big")

    def prefixed(self) -> bytes:
        """Return bytes whose length stands before them as a variable-length integer."""
        return self.take(self.varint())

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self.take(self.left)


def varint(number: int) -> bytes:
    """Encode a variable-length integer in the least bytes (RFC 9000 section 16).

    Raises ValueError unless the number is from 0 to 2**62 - 1."""
    for mark, size in enumerate((1, 2, 4, 8)):
        if 0 <= number < 1 << 8 * size - 2:
            return (mark << 8 * size - 2 | number).to_bytes(size, "big")
    raise ValueError("a variable-length integer has at most 62 bits")


def prefixed(data: bytes) -> bytes:
    """Return the bytes with their length before them."""
    return varint(len(data)) + data
