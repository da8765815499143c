"""The payload of a frame: one recorded event, or the key of a slot (pure).

    kind (1 byte) | catalog (6) | one_in (4) | length of the name (1) | name of the type (UTF-8)
    time (8, Unix seconds) | wait (4, seconds from time to due) | room (2)
    length of the fields (2) | fields (CBOR) | steps (CBOR)

All numbers are unsigned and big-endian. `room` is used by the slots of states.
"""

from __future__ import annotations

from struct import Struct, error
from typing import NamedTuple

EVENT, SEQUENCE, COUNT, STATE = range(1, 5)
"""Kinds of records. Events and sequences are frames of an event file; counts and states are slots
(slots.py)."""

CATALOG_BYTES = 6
"""A record names its catalog by these first bytes of the catalog's id."""

_TYPE = Struct(f">B{CATALOG_BYTES}sIB")
WHEN = Struct(">QIHH")
"""time, wait, room, and the length of the fields."""

WAIT_MAX = (1 << 32) - 1


class Recorded(NamedTuple):
    """One decoded payload. `kind`: one of the constants. `catalog`: the `catalog_number`. `time`
    and `due`: Unix seconds. `room`: bytes for the fields of a state's slot."""

    kind: int
    catalog: int
    one_in: int
    type: str
    time: int
    due: int
    room: int
    fields: bytes
    steps: bytes | None


def catalog_number(catalog_id: bytes) -> int:
    """Returns the number that rows store in place of a 32-byte catalog id: its first 48 bits.

    The number is the same in every file, so rows that are written while a damaged file is replaced
    still refer to the right catalog."""
    return int.from_bytes(catalog_id[:CATALOG_BYTES], "big")


def type_head(kind: int, catalog: int, one_in: int, type_name: str) -> bytes:
    """Returns the beginning of all payloads of one type. Raises ValueError for a value out of
    range."""
    name = type_name.encode()
    try:
        return _TYPE.pack(kind, catalog.to_bytes(CATALOG_BYTES, "big"), one_in, len(name)) + name
    except (error, OverflowError) as wrong:
        raise ValueError(f"cannot spool the type {type_name}: {wrong}") from wrong


def when(time: int, due: int, fields: bytes, *, room: int = 0) -> bytes:
    """Returns the part of a payload between its type and its fields. A clock before 1970 counts as
    1970."""
    time = max(0, time)
    return WHEN.pack(time, min(max(0, due - time), WAIT_MAX), room, len(fields))


def decode_record(payload: bytes) -> Recorded:
    """Decodes a payload. Raises ValueError if it is not one."""
    try:
        kind, catalog, one_in, length = _TYPE.unpack_from(payload)
        at = _TYPE.size + length
        name = payload[_TYPE.size : at].decode()
        time, wait, room, size = WHEN.unpack_from(payload, at)
    except (error, UnicodeDecodeError) as wrong:
        raise ValueError(f"not a spooled record: {wrong}") from wrong
    at += WHEN.size
    fields, steps = payload[at : at + size], payload[at + size :]
    if not EVENT <= kind <= STATE or len(fields) != size or not name or time >= 1 << 62:
        raise ValueError("not a spooled record")
    return Recorded(
        kind=kind,
        catalog=int.from_bytes(catalog, "big"),
        one_in=one_in,
        type=name,
        time=time,
        due=time + wait,
        room=room,
        fields=fields,
        steps=steps or None,
    )
