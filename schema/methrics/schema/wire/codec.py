"""Encode and decode the wire's subset of core deterministic CBOR (RFC 8949 section 4.2.1).

The values are `bool`, `int` (64 bits and a sign), `str`, `bytes`, `list` and `dict` with text
keys; there are no floats, nulls, tags or indefinite lengths, so each value has exactly one
encoding. `decode` refuses every other encoding: it succeeds only if `encode(decode(data)) == data`
(SPEC.md section "Encoding").

The library `cbor2` reads and writes the bytes, but it also reads longer encodings. `decode`
therefore computes the length of the shortest encoding of the value it got. If the data has exactly
this length, the keys of each map are in order, and nothing is nested too deeply (`cbor2` does not
count an empty array or map), the data is the one encoding. This takes half the time of encoding the
value again and comparing.
"""

from __future__ import annotations

from typing import Any, NoReturn

from cbor2 import CBORDecodeError, dumps, loads

from methrics.schema.errors import RefusedError
from methrics.schema.wire.limits import DEPTH_MAX
from methrics.schema.wire.verdict import Reason

Value = bool | int | str | bytes | list["Value"] | dict[str, "Value"]
"""The types of values that can be encoded; `encode` also accepts tuples, as arrays."""

_MEANT = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000, 55799)
"""Tags that cbor2 would decode into special types; each is refused before it is decoded."""


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("a tag")


_STRICT: dict[str, Any] = {
    "tag_hook": _refuse_tag,
    "semantic_decoders": dict.fromkeys(_MEANT, _refuse_tag),
    "max_depth": DEPTH_MAX,
    "allow_indefinite": False,
    "allow_duplicate_keys": False,
    "strict_hashable_types": True,
}


def encode(value: object) -> bytes:
    """Encode `value` (RFC 8949 section 4.2.1).

    Raises ValueError for a value that the wire cannot carry: another type, a key that is not text,
    an integer of more than 64 bits, text that is not Unicode, or nesting deeper than `DEPTH_MAX`.
    """
    _check(value, DEPTH_MAX)
    # `canonical` puts shorter keys first; for text keys, this is the bytewise order.
    return dumps(value, canonical=True)


def head(major: int, number: int) -> bytes:
    """Return the shortest head of a data item: major type 0..7, argument 0..2**64-1."""
    if number < 24:
        return bytes((major << 5 | number,))
    for extra, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes((major << 5 | extra,)) + number.to_bytes(size, "big")
    raise ValueError("the number has more than 64 bits")


def _check(value: object, depth: int) -> None:
    kind = type(value)
    if kind is str or kind is bool or kind is bytes:
        return
    if kind is int:
        if not -(1 << 64) <= value < 1 << 64:  # type: ignore[operator]  # an exact int
            raise ValueError("the number has more than 64 bits")
        return
    if depth == 0:
        raise ValueError("the value is nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise ValueError("a key is not text")
            _check(item, depth - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth - 1)
    else:
        raise ValueError(f"the wire does not carry {kind.__name__}")


def decode(data: bytes, *, limit: int) -> Value:
    """Decode `data`, which may have at most `limit` bytes.

    Time and memory are proportional to `len(data)`. Raises RefusedError: OVERSIZE if `data` is
    longer than `limit` (checked first), MALFORMED if `data` is not the encoding that `encode`
    writes.
    """
    if len(data) > limit:
        raise RefusedError(Reason.OVERSIZE, f"{len(data)} bytes; the limit is {limit}")
    try:
        value: Value = loads(data, **_STRICT)
        size = _size(value, DEPTH_MAX)
    except (CBORDecodeError, ValueError, OverflowError) as error:
        raise RefusedError(Reason.MALFORMED, f"not the CBOR of SPEC.md: {error}") from None
    if size != len(data):
        raise RefusedError(Reason.MALFORMED, "a CBOR head is too long, or bytes are left over")
    return value


def _size(value: object, depth: int) -> int:
    """Return the length in bytes of a decoded value's encoding.

    ValueError if it has none, or if it is nested deeper than `depth`.
    """
    kind = type(value)
    if kind is dict:
        return _map_size(value, depth)  # type: ignore[arg-type]  # an exact dict
    if kind is str:
        return _text_size(value)  # type: ignore[arg-type]  # an exact str
    if kind is int:
        number: int = value  # type: ignore[assignment]  # an exact int
        return _head_size(number if number >= 0 else -1 - number)
    if kind is bool:
        return 1
    if kind is bytes:
        length = len(value)  # type: ignore[arg-type]  # exact bytes
        return _head_size(length) + length
    if kind is list:
        if depth == 0:
            raise ValueError("the value is nested too deeply")
        items: list[object] = value  # type: ignore[assignment]  # an exact list
        return _head_size(len(items)) + sum(_size(item, depth - 1) for item in items)
    raise ValueError(f"the wire does not carry {kind.__name__}")


def _map_size(entries: dict[object, object], depth: int) -> int:
    """Return the length in bytes of a map's encoding. Small values are measured inline, because
    calls double the time."""
    if depth == 0:
        raise ValueError("the value is nested too deeply")
    size = _head_size(len(entries))
    last_length, last = -1, ""
    for key, value in entries.items():
        if type(key) is not str:
            raise ValueError("a key is not text")
        length = len(key) if key.isascii() else len(key.encode())
        if length <= last_length and (length < last_length or key <= last):
            raise ValueError("keys are not in ascending order")
        last_length, last = length, key
        size += length + (1 if length < 24 else _head_size(length))
        if type(value) is bool:
            size += 1
        elif type(value) is str and len(value) < 24 and value.isascii():
            size += 1 + len(value)
        else:
            size += _size(value, depth - 1)
    return size


def _text_size(text: str) -> int:
    length = len(text) if text.isascii() else len(text.encode())
    return _head_size(length) + length


def _head_size(number: int) -> int:
    if number < 24:
        return 1
    if number < 1 << 8:
        return 2
    if number < 1 << 16:
        return 3
    if number < 1 << 32:
        return 5
    if number < 1 << 64:
        return 9
    raise ValueError("the number has more than 64 bits")
