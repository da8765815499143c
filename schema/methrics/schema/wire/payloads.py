"""Read and write the parts that the payloads of several kinds of items have in common.

Every reader raises RefusedError(MALFORMED) for a value that the wire does not allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import decode, encode
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.reading import BARRED
from methrics.schema.wire.verdict import Reason

ID_SIZE = 32
"""Size in bytes of an item's id; a catalog's id is the id of its item."""


def refuse(message: str) -> NoReturn:
    """Raise RefusedError(MALFORMED)."""
    raise RefusedError(Reason.MALFORMED, message)


def checked(body: object, decoder: object) -> bytes:
    """Encode `body`. Raises ValueError if `decoder` would refuse the payload."""
    return read_again(encode(body), decoder)


def read_again(payload: bytes, decoder: object) -> bytes:
    """Return `payload`. Raises ValueError if `decoder` refuses it."""
    try:
        decoder(payload)  # type: ignore[operator]  # a decoder of payloads
    except RefusedError as error:
        raise ValueError(error.message) from error
    return payload


def decode_map(payload: bytes, limit: int) -> dict[str, object]:
    """Decode a payload that is a map. Raises RefusedError: OVERSIZE, MALFORMED."""
    body = decode(payload, limit=limit)
    if type(body) is not dict:
        refuse("a payload is not a map")
    return body  # type: ignore[return-value]  # dict is invariant


def allow_keys(body: Mapping[str, object], names: set[str]) -> None:
    """Refuse a map with other keys than `names`."""
    unknown = body.keys() - names
    if unknown:
        refuse(f"{len(unknown)} unknown keys")


def id_of(body: Mapping[str, object], name: str) -> bytes:
    """Read an id or another string of 32 bytes."""
    value = body.get(name)
    if type(value) is not bytes or len(value) != ID_SIZE:
        refuse(f"{name} is not an id of {ID_SIZE} bytes")
    return value


def time_of(body: Mapping[str, object], name: str) -> int:
    """Read a time in Unix seconds, up to the end of the year 9999."""
    value = number_of(body, name, 0)
    if value > TIME_MAX:
        refuse(f"{name} is after the year 9999")
    return value


def number_of(body: Mapping[str, object], name: str, least: int) -> int:
    """Read an integer of at least `least`."""
    value = body.get(name)
    if type(value) is not int or value < least:
        refuse(f"{name} is not an integer of at least {least}")
    return value


def text(value: object, most: int, least: int = 1) -> str:
    """Read text of `least` to `most` bytes of UTF-8 without control characters."""
    if type(value) is not str or not least <= len(value.encode()) <= most:
        refuse(f"a text does not have {least} to {most} bytes")
    if not BARRED.isdisjoint(value):
        refuse("a text has a line break or control character")
    return value


def list_of(body: Mapping[str, object], name: str, most: int) -> list[object]:
    """Read an array of at most `most` entries; an absent one is empty."""
    value = body.get(name, [])
    if type(value) is not list or len(value) > most:
        refuse(f"{name} is not an array of at most {most} entries")
    return value
