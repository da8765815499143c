"""Changes valid bytes so that they stay nearly valid: byte by byte, or by the structure within.

`mutate` is pure: the same input and the same generator give the same bytes.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import cbor2

from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import Kind, seal, split

SIZE_MAX = 300_000
"""Most bytes of a mutant: more than twice the largest message, so that size limits are met."""

SEED = bytes(range(32))
"""The key that signs a payload again after it was changed, so that readers look behind the
signature."""

NUMBERS = (
    0,
    1,
    -1,
    23,
    24,
    255,
    256,
    600,
    2**31,
    2**32 - 1,
    2**53,
    2**63,
    2**64 - 1,
    2**64,
    -(2**65),
)
LENGTHS = (0, 1, 23, 24, 31, 32, 33, 64, 255, 256, 1025)
HEADS = (b"\x9f", b"\xbf", b"\x5f", b"\x7f", b"\xff", b"\xc2\x40", b"\xf7", b"\xfb" + bytes(8))
HEADS += (b"\x9b" + b"\xff" * 8, b"\xbb" + b"\xff" * 8, b"\x5b\x7f" + b"\xff" * 7, b"\x81" * 40)
VARINTS = (
    b"\x00",
    b"\x7f",
    b"\x80\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\xff" * 9 + b"\x01",
    b"\x80" * 12,
)

UNREADABLE = (cbor2.CBORError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
UNREADABLE += (OverflowError,)
"""What a change of structure meets in bytes that have none."""


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Return `data` changed one to four times; `others` lend it their parts."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        data = rng.choice(CHANGES)(data, rng, others)[:SIZE_MAX]
    return data


def flip(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """One bit, or one byte, is another."""
    if not data:
        return rng.randbytes(1)
    at, out = rng.randrange(len(data)), bytearray(data)
    out[at] = rng.choice((out[at] ^ 1 << rng.randrange(8), rng.randrange(256), 0, 0xFF))
    return bytes(out)


def cut(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """A part is missing, often the end."""
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:start] if rng.random() < 0.5 else data[:start] + data[end:]


def repeat(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """A part stands there several times."""
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:end] * rng.choice((1, 1, 2, 50)) + data[end:]


def insert(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Heads of CBOR, lengths of protobuf, or random bytes stand somewhere."""
    at = rng.randrange(len(data) + 1)
    part = rng.choice((rng.choice(HEADS), rng.choice(VARINTS), rng.randbytes(rng.randrange(9))))
    skip = rng.choice((0, 0, len(part)))
    return data[:at] + part + data[at + skip :]


def splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """The start of one and the end of another."""
    if not others:
        return data
    other = rng.choice(others)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def shape(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """One node of the CBOR tree is another; strings that are CBOR themselves are looked into."""
    try:
        tree = cbor2.loads(data)
        return cbor2.dumps(_changed(tree, rng), canonical=rng.random() < 0.8)
    except UNREADABLE:
        return flip(data, rng, ())


def sign_again(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """The payload of an item, or of one item of a bundle, is changed and signed again."""
    with contextlib.suppress(RefusedError, ValueError):
        return _resigned(data, rng)
    try:
        about, *items = cbor2.loads(data)
        if isinstance(items[0] if items else None, list):
            items = items[0]
        at = rng.randrange(len(items))
        items[at] = _resigned(items[at], rng)
        return cbor2.dumps([about, *items], canonical=True)
    except (*UNREADABLE, RefusedError):
        return shape(data, rng, ())


def _resigned(raw: bytes, rng: random.Random) -> bytes:
    item = split(raw)
    kinds = [*Kind, item.kind, item.kind, item.kind, item.kind, item.kind]
    payload = shape(bytes(item.payload), rng, ())
    return seal(rng.choice(kinds), payload, SEED)


Change = Callable[[bytes, random.Random, Sequence[bytes]], bytes]
CHANGES: tuple[Change, ...] = (
    flip, cut, repeat, insert, splice, shape, shape, shape, sign_again, sign_again, sign_again
)  # fmt: skip


def _changed(tree: Any, rng: random.Random) -> Any:
    """A copy of the tree in which one node is another."""
    if isinstance(tree, dict) and tree and rng.random() < 0.85:
        return _changed_map(dict(tree), rng)
    if isinstance(tree, list) and tree and rng.random() < 0.85:
        return _changed_list(list(tree), rng)
    if isinstance(tree, bytes) and len(tree) > 2 and rng.random() < 0.8:
        return shape(tree, rng, ())
    if isinstance(tree, int) and not isinstance(tree, bool) and rng.random() < 0.6:
        return tree + rng.choice((-1, 1, 600, -600, 86_400, 2**32, -tree, tree))
    return _value(rng)


def _changed_map(tree: dict[Any, Any], rng: random.Random) -> dict[Any, Any]:
    key = rng.choice(list(tree))
    how = rng.randrange(8)
    if how == 0:
        del tree[key]
    elif how == 1:
        tree[_value(rng) if rng.random() < 0.3 else f"x{rng.randrange(99)}"] = _value(rng)
    elif how == 2:
        tree = dict(sorted(tree.items(), key=lambda _: rng.random()))
    elif how == 3:
        tree[rng.choice(list(tree))] = tree[key]
    else:
        tree[key] = _changed(tree[key], rng)
    return tree


def _changed_list(tree: list[Any], rng: random.Random) -> list[Any]:
    at = rng.randrange(len(tree))
    how = rng.randrange(8)
    if how == 0:
        del tree[at]
    elif how == 1:
        tree.insert(at, _value(rng))
    elif how == 2:
        tree.extend([tree[at]] * rng.choice((1, 2, 70)))
    elif how == 3:
        rng.shuffle(tree)
    else:
        tree[at] = _changed(tree[at], rng)
    return tree


def _value(rng: random.Random) -> Any:
    """A value that readers may not expect."""
    makers: tuple[Callable[[], Any], ...] = (
        lambda: rng.choice(NUMBERS),
        lambda: rng.randbytes(rng.choice(LENGTHS)),
        lambda: "é" * rng.choice(LENGTHS),
        lambda: rng.choice(("", "\x00", "a\nb", "\u202e", "constructor", "__proto__", "🙂")),
        lambda: rng.choice((None, True, False, 0.5, float("nan"), float("inf"), cbor2.undefined)),
        list,
        dict,
        lambda: {"a": [rng.choice(NUMBERS)] * rng.choice((1, 30))},
        lambda: cbor2.CBORTag(rng.choice((0, 2, 18, 32, 55_799)), "x"),
        lambda: cbor2.CBORSimpleValue(99),
        lambda: _nested(rng.choice((3, 9, 40))),
    )
    return rng.choice(makers)()


def _nested(depth: int) -> Any:
    value: Any = 0
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return value
