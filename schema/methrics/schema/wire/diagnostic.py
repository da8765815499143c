"""Write items as text for people, in CBOR diagnostic notation (RFC 8949 section 8)."""

from __future__ import annotations

import json

from methrics.schema.wire.codec import decode
from methrics.schema.wire.envelope import Item, Kind
from methrics.schema.wire.limits import ITEM_MAX


def diagnostic(value: object, *, indent: int = 0, width: int = 88) -> str:
    """Write a decoded `value` in diagnostic notation.

    An array or map wider than `width` columns is written with one entry per line, indented by two
    more columns than `indent`.
    """
    flat = _flat(value)
    if len(flat) + indent <= width or not isinstance(value, dict | list | tuple) or not value:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        lines = [
            f"{pad}{_flat(key)}: {diagnostic(one, indent=indent + 2, width=width)}"
            for key, one in value.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"
    lines = [pad + diagnostic(one, indent=indent + 2, width=width) for one in value]
    return "[\n" + ",\n".join(lines) + "\n" + " " * indent + "]"


def _flat(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flat(key)}: {_flat(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flat(one) for one in value) + "]"
    return str(value)


def readable(item: Item) -> str:
    """Write an item as its four COSE_Sign1 parts, with the whole payload decoded."""
    payload = diagnostic(decode(item.payload, limit=ITEM_MAX), indent=2)
    kind = f"65000 + {int(item.kind)}"
    protected = f"<< {{1: -8, 3: {kind}, 4: h'{item.key.hex()}'" + (
        f', "work": {item.work}}} >>' if item.work is not None else "} >>"
    )
    return "\n".join(
        [
            "[",
            f"  {protected},  / EdDSA, a {Kind(item.kind).name.lower()}, the key /",
            "  {},",
            f"  << {payload} >>,",
            f"  h'{item.signature.hex()}'  / signature /",
            "]",
        ]
    )


def hexdump(data: bytes, *, width: int = 32) -> str:
    """Write `data` in hex, `width` bytes per line, with the offset at the start of each line."""
    return "\n".join(
        f"{start:04x}  {data[start : start + width].hex(' ', -2)}"
        for start in range(0, len(data), width)
    )
