"""Items as text for people: complete, and in the notation of RFC 8949."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.schema.example import example_bytes
from methrics.schema.wire.diagnostic import diagnostic, hexdump, readable
from methrics.schema.wire.envelope import Kind, seal, split


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (-3, "-3"),
        (b"\x01\xff", "h'01ff'"),
        ('a"b', '"a\\"b"'),
        ([1, [False]], "[1, [false]]"),
        ({"a": {}, "b": []}, '{"a": {}, "b": []}'),
    ],
)
def test_notation(value: object, text: str) -> None:
    assert diagnostic(value) == text


def test_wide_values_are_broken_into_lines() -> None:
    text = diagnostic({"key": list(range(50)), "other": "x" * 60})
    assert text.startswith('{\n  "key": [\n    0,\n')
    assert text.endswith("\n}")


@given(st.binary(max_size=300))
def test_the_hexdump_contains_every_byte(data: bytes) -> None:
    lines = hexdump(data).splitlines()
    assert bytes.fromhex("".join(line[6:] for line in lines)) == data


def test_an_item_shows_its_four_parts() -> None:
    raw = seal(Kind.REPORT, b"\xa1\x61a\x01", bytes(32), work_bits=4)
    item = split(raw)
    text = readable(item)
    for part in ('{"a": 1}', item.key.hex(), item.signature.hex(), f'"work": {item.work}'):
        assert part in text


def test_a_catalog_is_shown_in_full() -> None:
    assert '"heartbeat"' in readable(split(example_bytes()))
