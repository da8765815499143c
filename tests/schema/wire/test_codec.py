"""The codec: one encoding per value, other encodings refused, in bounded time and memory."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.schema.wire.strict_reader import read

from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import decode, encode, head
from methrics.schema.wire.limits import DEPTH_MAX
from methrics.schema.wire.verdict import Reason

LIMIT = 65_536

scalars = (
    st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=300)
    | st.binary(max_size=300)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=30), inner),
    max_leaves=40,
)


def deep(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(deep, inner), default=0) if isinstance(value, dict | list) else 0


shallow = values.filter(lambda value: deep(value) <= DEPTH_MAX)


def refusal(data: bytes, limit: int = LIMIT) -> Reason:
    with pytest.raises(RefusedError) as caught:
        decode(data, limit=limit)
    return Reason(caught.value.code)


@given(shallow)
def test_values_survive_encoding_and_decoding(value: Any) -> None:
    again = decode(encode(value), limit=LIMIT * 100)
    assert again == value
    assert encode(again) == encode(value)  # True == 1, so equality alone is not enough


@given(shallow)
def test_a_reader_written_by_hand_reads_every_encoding(value: Any) -> None:
    assert read(encode(value)) == value


@given(st.binary(max_size=200))
@example(b"\xa1\x60\x00")
@example(b"\x81" * DEPTH_MAX + b"\x00")
@example(b"\x81" * DEPTH_MAX + b"\x80")
@example(b"\x81" * DEPTH_MAX + b"\xa0")
def test_any_bytes_are_refused_or_equal_the_encoding_of_their_value(data: bytes) -> None:
    try:
        value = decode(data, limit=LIMIT)
    except RefusedError:
        assert refusal(data) is Reason.MALFORMED
    else:
        assert encode(value) == data
        assert cbor2.loads(data) == value


@given(shallow, st.data())
def test_a_changed_encoding_is_another_value_or_refused(value: Any, data: st.DataObject) -> None:
    raw = encode(value)
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes([data.draw(st.integers(0, 255))]) + raw[at + 1 :]
    try:
        found = decode(changed, limit=LIMIT * 100)
    except RefusedError:
        return
    assert encode(found) == changed


@given(st.recursive(st.binary(max_size=9), lambda inner: st.lists(inner).map(b"".join)))
@example(bytes.fromhex("c24101"))
@example(bytes.fromhex("d9010081d81900"))
@example(bytes.fromhex("d9010082656161616161d81900"))
def test_a_reader_written_by_hand_accepts_the_same_bytes(data: bytes) -> None:
    try:
        expected = [read(data)]
    except (ValueError, IndexError):
        expected = []
    try:
        found = [decode(data, limit=LIMIT)]
    except RefusedError:
        found = []
    assert found == expected


@given(st.integers(0, 70_000), st.sampled_from(["00", "6161", "4101", "80", "820102", "a0", "f4"]))
def test_no_tag_is_read(tag: int, content: str) -> None:
    assert refusal(head(6, tag) + bytes.fromhex(content)) is Reason.MALFORMED


@pytest.mark.parametrize(
    "hex_bytes",
    [
        *("", "61", "18", "1900", "5803", "8101ff", "a1", "a16161"),  # cut short
        *("0000", "6000", "8000", "a000"),  # bytes behind the value
        *("1817", "190001", "1900ff", "1a0000ffff", "1b00000000ffffffff"),  # long integers
        *("3817", "580161", "5900016100", "780161", "9801f4", "b8016161f4"),  # long lengths
        *("5f4100ff", "7f6161ff", "9fff", "bfff", "ff", "1f", "3f"),  # indefinite, break
        *("1c", "3d", "5e", "7c", "9d", "be", "fc"),  # reserved
        *("a2616200616100", "a262616100616200", "a2616100616100"),  # unsorted, repeated
        *("a10000", "a1410000", "a1f400", "a18000", "a1a000"),  # keys that are not text
        *("f6", "f7", "e0", "f0", "f820", "f8ff", "f813"),  # null, undefined, simple values
        *("f90000", "fa00000000", "fb0000000000000000", "f97e00", "f97c00"),  # floats
        *("c001", "c11a00000000", "c24100", "c34100", "c48200", "c5820001"),  # tags: dates, numbers
        *("d81c80", "d81d00", "d8234161", "d818", "d9d9f700", "d9010080", "d81900"),
        *("61ff", "62c328", "63eda080", "64f4908080", "62c0af"),  # not UTF-8
    ],
)
def test_other_encodings_are_refused(hex_bytes: str) -> None:
    assert refusal(bytes.fromhex(hex_bytes)) is Reason.MALFORMED


@pytest.mark.parametrize("major", [0x40, 0x60, 0x80, 0xA0])
@pytest.mark.parametrize("size", [2**16, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
def test_a_length_bomb_is_refused_without_memory(major: int, size: int) -> None:
    bomb = head(major >> 5, size) + b"\x00" * 100
    tracemalloc.start()
    assert refusal(bomb) is Reason.MALFORMED
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize("opener", [b"\x81", b"\xa1\x61a", b"\x9f", b"\xd8\x23", b"\xc6"])
def test_a_nesting_bomb_is_refused_before_the_stack_runs_out(opener: bytes) -> None:
    assert refusal((opener * 60_000)[:LIMIT]) is Reason.MALFORMED


@given(
    st.lists(st.sampled_from([b"\x81", b"\xa1\x60", b"\x82\x80"]), max_size=DEPTH_MAX + 2),
    st.sampled_from([b"\x80", b"\xa0", b"\x81\x00", b"\xa1\x60\x00", b"\x00"]),
)
def test_attack_an_empty_array_or_map_is_no_deeper_than_others(
    openers: list[bytes], inner: bytes
) -> None:
    data = b"".join(openers) + inner
    besides = [level for level, opener in enumerate(openers, 2) if opener == b"\x82\x80"]
    if max(len(openers) + (inner != b"\x00"), *besides, 0) <= DEPTH_MAX:
        assert encode(decode(data, limit=LIMIT)) == data
    else:
        assert refusal(data) is Reason.MALFORMED


def test_nesting_is_read_and_written_to_the_same_depth() -> None:
    allowed = b"\x81" * DEPTH_MAX + b"\x00"
    assert encode(decode(allowed, limit=99)) == allowed
    assert refusal(b"\x81" + allowed) is Reason.MALFORMED
    with pytest.raises(ValueError, match="nested"):
        encode([decode(allowed, limit=99)])


def test_the_size_limit_is_checked_first() -> None:
    assert refusal(b"\xff" * 11, limit=10) is Reason.OVERSIZE
    assert decode(b"\x49" + b"x" * 9, limit=10) == b"x" * 9


@pytest.mark.parametrize(
    "value",
    [None, 1.5, {1: 2}, {b"a": 1}, {"a": None}, 2**64, -(2**64) - 1, "\ud800", {1}, 1j, object()],
)
def test_values_that_the_wire_cannot_carry_are_not_encoded(value: object) -> None:
    with pytest.raises(ValueError):
        encode(value)


def test_a_subclass_is_not_taken_for_its_base() -> None:
    with pytest.raises(ValueError, match="does not carry"):
        encode(Reason.OK)


@given(st.integers(0, 2**64 - 1))
def test_heads_are_as_short_as_cbor2_makes_them(number: int) -> None:
    assert head(0, number) == cbor2.dumps(number)


def test_a_refusal_names_the_fault_in_one_line() -> None:
    with pytest.raises(RefusedError, match=re.escape("keys are not in ascending order")):
        decode(bytes.fromhex("a2616200616100"), limit=LIMIT)
