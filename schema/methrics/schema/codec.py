"""The one encoding on the wire: RFC 8949 core deterministic CBOR, cut down to what we need.

The values are `bool`, `int` (64 bits and a sign), `str`, `bytes`, `list` and `dict` with text
keys; there are no floats, nulls, tags or indefinite lengths, so each value has exactly one
encoding. `decode` reads that encoding and nothing else: it succeeds only if
`encode(decode(data)) == data`, and everything else is refused (SPEC.md section "Encoding").

It is written by hand because general decoders accept more than this (duplicate and unsorted keys,
longer than needed integers, trailing bytes), and reading strictly costs less than reading
generously and then encoding again to compare. The tests hold it against `cbor2`.
"""

from __future__ import annotations

from typing import NoReturn

from methrics.schema.errors import RefusedError
from methrics.schema.limits import DEPTH_MAX
from methrics.schema.verdict import Reason

Value = bool | int | str | bytes | list["Value"] | dict[str, "Value"]
"""What the codec carries; arrays may also be given to `encode` as tuples."""

_FALSE, _TRUE = 0xF4, 0xF5
_TEXT, _TEXT_LONG = 0x60, 0x78
_KEYS: dict[bytes, str] = {}
_KEYS_MAX = 4096
_KEY_SIZE = 33
"""Keys repeat, so their text is kept by encoding: at most this many, of at most this many bytes."""


def encode(value: object) -> bytes:
    """The one encoding of `value` (RFC 8949 section 4.2.1).

    Raises ValueError for what the wire cannot carry: another type, a key that is not text, an
    integer of more than 64 bits, text that is not Unicode, or nesting over `DEPTH_MAX`.
    """
    out = bytearray()
    _write(value, out, DEPTH_MAX)
    return bytes(out)


def head(major: int, number: int) -> bytes:
    """The shortest head of a data item: major type 0..7, argument 0..2**64-1."""
    if number < 24:
        return bytes((major << 5 | number,))
    if number < 256:
        return bytes((major << 5 | 24, number))
    for extra, size in ((25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes((major << 5 | extra,)) + number.to_bytes(size, "big")
    raise ValueError("the number has more than 64 bits")


def _write(value: object, out: bytearray, depth: int) -> None:
    kind = type(value)
    if kind is str:
        data = value.encode()  # type: ignore[attr-defined]  # an exact str
        out += head(3, len(data)) + data
    elif kind is bool:
        out.append(_TRUE if value else _FALSE)
    elif kind is int:
        number: int = value  # type: ignore[assignment]  # an exact int
        out += head(0, number) if number >= 0 else head(1, -1 - number)
    elif kind is bytes:
        out += head(2, len(value)) + value  # type: ignore[arg-type, operator]  # exact bytes
    elif depth == 0:
        raise ValueError("the value is nested too deeply")
    elif isinstance(value, dict):
        out += head(5, len(value))
        for key, item in sorted((_key(key), item) for key, item in value.items()):
            out += key
            _write(item, out, depth - 1)
    elif isinstance(value, list | tuple):
        out += head(4, len(value))
        for item in value:
            _write(item, out, depth - 1)
    else:
        raise ValueError(f"the wire does not carry {kind.__name__}")


def _key(key: object) -> bytes:
    if type(key) is not str:
        raise ValueError("a key is text")
    data = key.encode()
    return head(3, len(data)) + data


def decode(data: bytes, *, limit: int) -> Value:
    """The value whose encoding is `data`, which may have at most `limit` bytes.

    Time and memory are proportional to `len(data)`. Raises RefusedError: OVERSIZE over the
    limit, which is looked at first, and MALFORMED for all that `encode` would write otherwise.
    """
    if len(data) > limit:
        raise RefusedError(Reason.OVERSIZE, f"{len(data)} bytes where at most {limit} may stand")
    try:
        value, end = _read(data, 0, DEPTH_MAX)
    except IndexError:
        _refuse("the data ends in the middle of a value")
    except UnicodeDecodeError:
        _refuse("a text is not UTF-8")
    if end != len(data):
        # Slices never raise, so a text or byte string cut short shows here, as an end too far.
        _refuse("bytes are left over" if end < len(data) else "the data ends too early")
    return value


def _refuse(message: str) -> NoReturn:
    raise RefusedError(Reason.MALFORMED, message)


def _read(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    """The value at offset `at` and the offset behind it."""
    first = data[at]
    if first < 24:
        return first, at + 1
    if first in (_FALSE, _TRUE):
        return first == _TRUE, at + 1
    if _TEXT <= first < _TEXT_LONG:
        end = at + 1 + first - _TEXT
        return data[at + 1 : end].decode(), end
    major, extra = first >> 5, first & 0x1F
    if extra < 24:
        number, at = extra, at + 1
    elif extra == 24 and data[at + 1] > 23:
        number, at = data[at + 1], at + 2
    else:
        number, at = _number(data, at)
    if major == 0:
        return number, at
    if major == 2:
        return data[at : at + number], at + number
    if major == 1:
        return -1 - number, at
    if major == 3:
        return data[at : at + number].decode(), at + number
    if depth == 0:
        _refuse("the value is nested too deeply")
    if major == 5:
        return _read_map(data, at, number, depth - 1)
    if major == 4:
        return _read_array(data, at, number, depth - 1)
    _refuse(f"byte {first:#04x} starts no value that the wire carries")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The argument of the head at `at`, refused where a shorter head would do."""
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


def _read_array(data: bytes, at: int, length: int, depth: int) -> tuple[Value, int]:
    values: list[Value] = []
    for _ in range(length):
        value, at = _read(data, at, depth)
        values.append(value)
    return values, at


def _read_map(data: bytes, at: int, length: int, depth: int) -> tuple[Value, int]:
    """A map whose encoded keys ascend strictly, which also rules out duplicates.

    Short keys and the common values are read in line: a call for each would double the time.
    """
    values: dict[str, Value] = {}
    last = b""
    for _ in range(length):
        first = data[at]
        if _TEXT <= first < _TEXT_LONG:
            start = at + 1
            end = start + first - _TEXT
        elif first >> 5 == 3:
            number, start = _number(data, at)
            end = start + number
        else:
            _refuse("a key is not text")
        encoded = data[at:end]
        if encoded <= last:
            _refuse("keys are not in ascending order")
        last = encoded
        key = _KEYS.get(encoded) or _new_key(encoded, data[start:end])
        first = data[end]
        if first < 24:
            values[key] = first
            at = end + 1
        elif _TEXT <= first < _TEXT_LONG:
            at = end + 1 + first - _TEXT
            values[key] = str(data[end + 1 : at], "utf-8")
        elif first == _TRUE:
            values[key] = True
            at = end + 1
        elif first == _FALSE:
            values[key] = False
            at = end + 1
        else:
            values[key], at = _read(data, end, depth)
    return values, at


def _new_key(encoded: bytes, text: bytes) -> str:
    key = text.decode()
    if len(encoded) <= _KEY_SIZE and len(_KEYS) < _KEYS_MAX:
        _KEYS[encoded] = key
    return key
