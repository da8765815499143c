"""Stand-in; see the package."""

from __future__ import annotations


def int_bytelen(number: int) -> int:
    """Bytes that hold an integer."""
    return (abs(number).bit_length() + 7) // 8
