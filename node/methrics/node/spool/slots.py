"""Slots of a spool: the sum of a count, or the latest fields of a state, written in place (pure).

A slot is a frame (frames.py) with the key, followed by two values: the first is written by the app,
the second by the reader that has taken the value over. Each value has a checksum of its own.

    count:  total (8 bytes) | CRC-32 (4)                                  taken (8) | CRC-32 (4)
    state:  turn (8) | length (2) | fields, padded to `room` | CRC-32 (4)   taken (8) | CRC-32 (4)

The total of a count and the turn of a state only grow. A checksum includes the offset of the slot,
so that a value which was written to a wrong place is not taken for a right one.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

from methrics.node.spool.records import COUNT, STATE, Recorded, decode_record

NUMBER = Struct(">QI")
"""A number and its checksum."""

_TURN = Struct(">QH")
_CHECKSUM = Struct(">I")

NUMBER_MAX = (1 << 63) - 1


class SlotValue(NamedTuple):
    """The value of a slot. `number`: the total of a count or the turn of a state, None if it is
    damaged. `fields`: those of a state. `taken`: the number that a reader took over last."""

    number: int | None
    fields: bytes
    taken: int


def number(value: int, offset: int) -> bytes:
    """Returns `value` with its checksum, for the slot whose values begin at `offset`."""
    return NUMBER.pack(value, crc32(value.to_bytes(8, "big"), offset & 0xFFFFFFFF))


def turn(count: int, fields: bytes, room: int, offset: int) -> bytes:
    """Returns the value of a state: how often it was written, and its fields in `room` bytes."""
    body = _TURN.pack(count, len(fields)) + fields.ljust(room, b"\0")
    return body + _CHECKSUM.pack(crc32(body, offset & 0xFFFFFFFF))


def turn_size(room: int) -> int:
    """Returns the number of bytes of a state's value."""
    return _TURN.size + room + _CHECKSUM.size


def tail_size(payload: bytes) -> int:
    """Returns how many bytes of values follow the frame of a slot; 0 if the payload is no slot."""
    try:
        record = decode_record(payload)
    except ValueError:
        return 0
    return _values_size(record)


def _values_size(record: Recorded) -> int:
    if record.kind == COUNT:
        return 2 * NUMBER.size
    return turn_size(record.room) + NUMBER.size if record.kind == STATE else 0


def taken_at(record: Recorded, offset: int) -> int:
    """Returns the offset of the reader's value, for a slot whose values begin at `offset`."""
    return offset + (NUMBER.size if record.kind == COUNT else turn_size(record.room))


def read_value(record: Recorded, values: bytes, offset: int) -> SlotValue:
    """Reads the `values` of a slot, which begin at `offset` of the file."""
    seed = offset & 0xFFFFFFFF
    own = len(values) - NUMBER.size
    taken, checksum = NUMBER.unpack_from(values, own)
    if crc32(taken.to_bytes(8, "big"), seed) != checksum:
        taken = 0
    if record.kind == COUNT:
        total, checksum = NUMBER.unpack_from(values)
        good = crc32(values[:8], seed) == checksum and total <= NUMBER_MAX
        return SlotValue(total if good else None, b"", taken)
    count, length = _TURN.unpack_from(values)
    body = values[: own - _CHECKSUM.size]
    good = crc32(body, seed) == _CHECKSUM.unpack_from(values, len(body))[0]
    good = good and length <= record.room and count <= NUMBER_MAX
    fields = body[_TURN.size : _TURN.size + length] if good else b""
    return SlotValue(count if good else None, fields, taken)
