"""An item for human eyes: CBOR diagnostic notation (RFC 8949 section 8), laid out in lines."""

from __future__ import annotations

import json

from methrics.schema.wire.codec import decode
from methrics.schema.wire.envelope import Item, Kind
from methrics.schema.wire.limits import ITEM_MAX


def diagnostic(value: object, *, indent: int = 0, width: int = 88) -> str:
    """`value` (what the codec decodes to) in diagnostic notation, broken where it gets wide."""
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
    """An item as its four COSE_Sign1 parts, the payload decoded; catalogs in full as well."""
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
    """Bytes in hex, `width` a line, with the offset before them."""
    return "\n".join(
        f"{start:04x}  {data[start : start + width].hex(' ', -2)}"
        for start in range(0, len(data), width)
    )
