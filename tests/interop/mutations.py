"""Damage: values that differ in one place from what they were, and bytes that do."""

from __future__ import annotations

from random import Random
from typing import Any

_TEXTS = [
    *("", " ", "\u3000", "a", "x\u0000", "\ufeff", "\u202e", "\U0001f600", "https://x"),
    *("other", "d0", "d1", "d01", "ZZ", "DE", "de", "sh", "1.2", "01.2", "1.2.3"),
    *("0.5", "-0.5", "-0.0", "1.50", "\u00fc" * 12, "\u00fc" * 13),
    *("y" * size for size in (32, 33, 64, 65, 200, 201, 240, 241, 480, 481, 500, 501)),
]
_NUMBERS = [
    *(0, 1, 2, 7, 23, 24, 255, 256, 300, 599, 600, 601, 3599, 3600, 3653, 65_535, 65_536),
    *(86_399, 86_400, 31_622_400, 31_622_401, 2**32 - 1, 2**32, 2**53 - 1, 2**53),
    *(253_402_300_799, 253_402_300_800, 2**64 - 1, -1, 1 - 2**53, -(2**53), -(2**64)),
]
_OTHERS: list[Any] = [True, False, b"", bytes(32), bytes(31), [], [0], [["a", 0]], {}, {"a": 1}]


def _other(rng: Random, value: Any) -> Any:
    """A value in the place of `value`: near to it, or of another type."""
    choice = rng.random()
    if isinstance(value, int) and not isinstance(value, bool) and choice < 0.6:
        return max(-(2**64), min(2**64 - 1, value + rng.choice([-600, -1, 1, 600])))
    if isinstance(value, str) and choice < 0.5:
        return rng.choice([value + "a", value[:-1], value.upper(), value + value, value[::-1]])
    if isinstance(value, bytes) and choice < 0.5:
        return value[:-1] + bytes([rng.randrange(256)]) if value else b"\x00"
    if isinstance(value, list) and value and choice < 0.7:
        at = rng.randrange(len(value))
        return rng.choice([
            value[:at] + value[at + 1 :],
            [*value, value[at]],
            value[::-1],
            value * rng.choice([2, 8, 33]),
        ])  # fmt: skip
    return rng.choice([*_TEXTS, *_NUMBERS, *_OTHERS])


def _changed_map(rng: Random, value: dict[Any, Any]) -> dict[Any, Any]:
    keys = list(value)
    choice = rng.random()
    if keys and choice < 0.4:
        gone = rng.choice(keys)
        return {key: one for key, one in value.items() if key != gone}
    if keys and choice < 0.6:
        old = rng.choice(keys)
        return {key if key != old else f"{key}x": one for key, one in value.items()}
    added = rng.choice(
        ["count", "sequence", "one_in", "source", "randomize", "unit", "values", "x"]
    )
    return {**value, added: rng.choice([*_TEXTS, *_NUMBERS, *_OTHERS])}


def mutated(rng: Random, value: Any) -> Any:
    """The same value with one place of it, however deep, changed."""
    inside = isinstance(value, (dict, list)) and value and rng.random() < 0.85
    if inside and isinstance(value, dict):
        chosen = rng.choice(list(value))
        return {key: mutated(rng, one) if key == chosen else one for key, one in value.items()}
    if inside and isinstance(value, list):
        at = rng.randrange(len(value))
        return [*value[:at], mutated(rng, value[at]), *value[at + 1 :]]
    if isinstance(value, dict) and rng.random() < 0.9:
        return _changed_map(rng, value)
    return _other(rng, value)


def damaged(rng: Random, raw: bytes) -> bytes:
    """The same bytes with a few changed, inserted, removed or repeated at one place."""
    at = rng.randrange(len(raw) + 1)
    size = rng.choice([1, 1, 1, 2, 8])
    flipped = bytes([byte ^ 1 << rng.randrange(8) for byte in raw[at : at + 1]])
    return rng.choice([
        raw[:at] + rng.randbytes(size) + raw[at + size :],
        raw[:at] + flipped + raw[at + 1 :],
        raw[:at] + rng.randbytes(size) + raw[at:],
        raw[:at] + raw[at + size :],
        raw[:at] + raw[at : at + size] + raw[at:],
        raw[:at],
    ])  # fmt: skip
