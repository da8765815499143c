"""Frames, records and slots: whole ones are found among damage, and no bytes make a reader fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.spool.frames import MARK, PAYLOAD_MAX, frame
from methrics.node.spool.records import (
    COUNT,
    EVENT,
    SEQUENCE,
    STATE,
    Recorded,
    decode_record,
    type_head,
    when,
)
from methrics.node.spool.scan import scan
from methrics.node.spool.slots import number, read_value, tail_size, turn, turn_size

payloads = st.binary(min_size=1, max_size=60).filter(lambda one: MARK not in one)
garbage = st.one_of(
    st.binary(max_size=40).filter(lambda one: MARK[:1] not in one),
    st.integers(1, 300).map(bytes),
    st.tuples(payloads, st.integers(1, 40)).map(lambda it: frame(it[0])[: -it[1]]),
    payloads.map(lambda one: frame(one)[:-1] + bytes([frame(one)[-1] ^ 1])),
)
stretches = st.lists(st.tuples(st.booleans(), payloads, garbage), max_size=12)


def laid_out(parts: list[tuple[bool, bytes, bytes]]) -> tuple[bytes, list[bytes]]:
    data = b"".join(frame(payload) if whole else junk for whole, payload, junk in parts)
    return data, [payload for whole, payload, _ in parts if whole]


def check(found: list[bytes], expected: list[bytes], data: bytes) -> None:
    """All whole frames were found, in order. What follows a cut frame may complete it by chance, so
    there may be more, but each is in the data."""
    left = iter(found)
    assert all(payload in left for payload in expected)
    assert all(frame(payload) in data for payload in found)


@given(stretches, st.booleans(), st.integers(0, 1 << 40))
def test_all_whole_frames_are_found_among_damage(
    parts: list[tuple[bool, bytes, bytes]], final: bool, base: int
) -> None:
    data, expected = laid_out(parts)
    found = scan(data, base, final=final)
    check([payload for _, payload, _ in found.frames], expected, data)
    ends = [end - base for end, _, _ in found.frames]
    for end, (_, payload, _) in zip(ends, found.frames, strict=True):
        assert data[:end].endswith(frame(payload))
    assert max(ends, default=0) <= found.end - base <= len(data)
    if final:
        assert found.end - base == len(data)


@given(stretches, st.data())
def test_reading_in_parts_finds_what_reading_at_once_finds(
    parts: list[tuple[bool, bytes, bytes]], draw: st.DataObject
) -> None:
    data, expected = laid_out(parts)
    found, start = [], 0
    sizes = draw.draw(st.lists(st.integers(0, len(data)), max_size=8).map(sorted))
    for size in [*sizes, len(data)]:
        part = scan(data[start:size], start)
        found += [payload for _, payload, _ in part.frames]
        assert part.end >= start
        start = part.end
    check(found, expected, data)


@given(
    st.lists(st.one_of(st.binary(max_size=30), st.just(MARK), st.just(frame(b"x")))).map(b"".join),
    st.integers(0, 50),
)
def test_no_bytes_make_a_scan_fail(data: bytes, tail: int) -> None:
    for final in (False, True):
        found = scan(data, 7, lambda _: tail, final=final)
        assert 7 <= found.end <= 7 + len(data)
        last = 7
        for end, _, value in found.frames:
            assert last < value <= end <= found.end
            last = end


def test_a_payload_has_a_limit() -> None:
    [(_, payload, _)] = scan(frame(bytes(PAYLOAD_MAX))).frames
    assert len(payload) == PAYLOAD_MAX
    for size in (0, PAYLOAD_MAX + 1):
        with pytest.raises(ValueError, match="1 to"):
            frame(bytes(size))


names = st.text(min_size=1, max_size=60).filter(
    lambda one: len(one.encode("utf-8", "replace")) < 99
)
names = names.filter(lambda one: one.isprintable())


@given(
    st.sampled_from([EVENT, SEQUENCE, COUNT, STATE]),
    st.integers(0, (1 << 48) - 1),
    st.integers(1, (1 << 32) - 1),
    names,
    st.integers(-5, (1 << 62) - 1),
    st.integers(0, 1 << 33),
    st.binary(max_size=80),
    st.binary(max_size=20),
)
def test_records_round_trip(
    kind: int,
    catalog: int,
    one_in: int,
    name: str,
    time: int,
    wait: int,
    fields: bytes,
    steps: bytes,
) -> None:
    payload = type_head(kind, catalog, one_in, name) + when(time, time + wait, fields, room=9)
    record = decode_record(payload + fields + steps)
    time, due = max(0, time), max(0, time + wait)
    due = time + min(due - time, (1 << 32) - 1)
    assert record == Recorded(kind, catalog, one_in, name, time, due, 9, fields, steps or None)
    for cut in range(len(payload + fields)):
        with pytest.raises(ValueError):
            decode_record((payload + fields)[:cut])


@given(st.binary(max_size=80))
def test_decoding_raises_nothing_but_value_error(data: bytes) -> None:
    try:
        record = decode_record(data)
    except ValueError:
        assert tail_size(data) == 0
    else:
        assert record.type


def slot(kind: int, room: int) -> bytes:
    return type_head(kind, 1, 1, "click") + when(5, 9, b"", room=room)


@given(
    st.integers(0, (1 << 63) - 1),
    st.integers(0, (1 << 63) - 1),
    st.binary(max_size=48),
    st.integers(1, 1 << 20),
    st.data(),
)
def test_slots_round_trip_and_show_damage(
    value: int, taken: int, fields: bytes, at: int, draw: st.DataObject
) -> None:
    for kind in (COUNT, STATE):
        payload, own = slot(kind, 48), number(value, at)
        if kind == STATE:
            own = turn(value, fields, 48, at)
            assert len(own) == turn_size(48)
        values = own + number(taken, at)
        assert tail_size(payload) == len(values)
        record = decode_record(payload)
        found = read_value(record, values, at)
        assert found == (value, fields if kind == STATE else b"", taken)
        hurt = bytearray(values)
        bit = draw.draw(st.integers(0, 8 * len(own) - 1))
        hurt[bit // 8] ^= 1 << bit % 8
        damaged = read_value(record, bytes(hurt), at)
        assert (damaged.number, damaged.fields, damaged.taken) == (None, b"", taken)
        assert read_value(record, values, at + 1).number is None, "written to a wrong place"
        assert read_value(record, bytes(len(values)), at).number is None


@pytest.mark.parametrize("kind", [COUNT, STATE])
def test_a_slot_that_was_cut_does_not_hide_the_next(kind: int) -> None:
    first = frame(slot(kind, 48))
    first += bytes(range(65, 65 + tail_size(slot(kind, 48))))
    second = frame(slot(COUNT, 0)) + number(3, 1) + number(0, 1)
    for cut in range(len(first) + 1):
        data = first[:cut] + second
        found = scan(data, 0, tail_size, final=True)
        assert found.frames[-1][0] == len(data)
        assert found.frames[-1][2] == len(data) - 2 * len(number(0, 0))
