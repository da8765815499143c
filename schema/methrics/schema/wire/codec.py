"""The one encoding on the wire: RFC 8949 core deterministic CBOR, cut down to what we need.

The values are `bool`, `int` (64 bits and a sign), `str`, `bytes`, `list` and `dict` with text
keys; there are no floats, nulls, tags or indefinite lengths, so each value has exactly one
encoding. `decode` reads that encoding and nothing else: it succeeds only if
`encode(decode(data)) == data`, and everything else is refused (SPEC.md section "Encoding").

`cbor2` reads and writes. It accepts more than this, so `decode` measures what it gave: a value's
one encoding is the shortest, hence bytes of just that length, with keys in order, are that
encoding. That costs half of encoding again to compare.
"""

from __future__ import annotations

from typing import Any, NoReturn

from cbor2 import CBORDecodeError, dumps, loads

from methrics.schema.errors import RefusedError
from methrics.schema.wire.limits import DEPTH_MAX
from methrics.schema.wire.verdict import Reason

Value = bool | int | str | bytes | list["Value"] | dict[str, "Value"]
"""What the codec carries; arrays may also be given to `encode` as tuples."""

_MEANT = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000, 55799)
"""Tags that cbor2 gives a meaning: each is refused before its content becomes anything."""


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
    """The one encoding of `value` (RFC 8949 section 4.2.1).

    Raises ValueError for what the wire cannot carry: another type, a key that is not text, an
    integer of more than 64 bits, text that is not Unicode, or nesting over `DEPTH_MAX`.
    """
    _check(value, DEPTH_MAX)
    # Canonical here means shorter keys first, which for text keys is the bytewise order.
    return dumps(value, canonical=True)


def head(major: int, number: int) -> bytes:
    """The shortest head of a data item: major type 0..7, argument 0..2**64-1."""
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
                raise ValueError("a key is text")
            _check(item, depth - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth - 1)
    else:
        raise ValueError(f"the wire does not carry {kind.__name__}")


def decode(data: bytes, *, limit: int) -> Value:
    """The value whose encoding is `data`, which may have at most `limit` bytes.

    Time and memory are proportional to `len(data)`. Raises RefusedError: OVERSIZE over the
    limit, which is looked at first, and MALFORMED for all that `encode` would write otherwise.
    """
    if len(data) > limit:
        raise RefusedError(Reason.OVERSIZE, f"{len(data)} bytes where at most {limit} may stand")
    try:
        value: Value = loads(data, **_STRICT)
        size = _size(value)
    except (CBORDecodeError, ValueError, OverflowError) as error:
        raise RefusedError(Reason.MALFORMED, f"not our CBOR: {error}") from None
    if size != len(data):
        raise RefusedError(Reason.MALFORMED, "a head is too long, or bytes are left over")
    return value


def _size(value: object) -> int:
    """Bytes of the one encoding of what cbor2 decoded. ValueError if there is none."""
    kind = type(value)
    if kind is dict:
        return _map_size(value)  # type: ignore[arg-type]  # an exact dict
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
        items: list[object] = value  # type: ignore[assignment]  # an exact list
        return _head_size(len(items)) + sum(map(_size, items))
    raise ValueError(f"the wire does not carry {kind.__name__}")


def _map_size(entries: dict[object, object]) -> int:
    """As `_size`, with small values measured in line: a call for each would double the time."""
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
            size += _size(value)
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
