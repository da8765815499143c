"""A second reader of the wire's CBOR, written from RFC 8949, for tests to compare with."""

from __future__ import annotations

from typing import Any, NoReturn

DEPTH = 8


def read(data: bytes) -> Any:
    """Decode one deterministic encoding; ValueError or IndexError for any other bytes."""
    value, end = _read(data, 0, DEPTH)
    if end != len(data):
        _refuse("bytes are left over, or the data ends too early")
    return value


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    first = data[at]
    if first in (0xF4, 0xF5):
        return first == 0xF5, at + 1
    number, at = _number(data, at)
    major = first >> 5
    if major == 0:
        return number, at
    if major == 1:
        return -1 - number, at
    if major == 2:
        return data[at : at + number], at + number
    if major == 3:
        return data[at : at + number].decode(), at + number
    if depth == 0 or major > 5:
        _refuse("nested too deeply, or a type that the wire does not carry")
    if major == 4:
        items = []
        for _ in range(number):
            item, at = _read(data, at, depth - 1)
            items.append(item)
        return items, at
    entries: dict[str, Any] = {}
    last = b""
    for _ in range(number):
        if data[at] >> 5 != 3:
            _refuse("a key is not text")
        key, end = _read(data, at, depth)
        if data[at:end] <= last:
            _refuse("keys are not in ascending order")
        last = data[at:end]
        entries[key], at = _read(data, end, depth - 1)
    return entries, at


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The argument of the head at `at`; ValueError if a shorter head is possible."""
    extra = data[at] & 0x1F
    if extra < 24:
        return extra, at + 1
    if extra > 27:
        _refuse("a length is indefinite or reserved")
    size = 1 << (extra - 24)
    end = at + 1 + size
    if end > len(data):
        _refuse("the data ends in the middle of a head")
    number = int.from_bytes(data[at + 1 : end], "big")
    if number < (24 if size == 1 else 1 << 4 * size):
        _refuse("a head is longer than it needs to be")
    return number, end
