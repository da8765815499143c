"""Payloads of namespace records: what is read is what was written, and every bound holds."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Kind, public_key, verify
from methrics.schema.wire.limits import RECORD_MAX, TIME_MAX
from methrics.schema.wire.record import (
    Listing,
    Record,
    Revoked,
    decode_record,
    encode_record,
    sign_record,
)
from methrics.schema.wire.verdict import Reason

ids = st.binary(min_size=32, max_size=32)
times = st.integers(0, TIME_MAX - 2)
names = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
lines = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=60)


@st.composite
def listings(draw: st.DrawFn, catalog: bytes) -> Listing:
    listed = draw(times)
    delisted = draw(st.none() | st.integers(listed + 1, TIME_MAX))
    return Listing(catalog, listed, delisted)


@st.composite
def records(draw: st.DrawFn) -> Record:
    time = draw(times)
    catalogs = sorted(draw(st.sets(ids, max_size=32)))
    settled = st.none() | st.integers(0, time - 1) if time else st.none()
    revocations = st.builds(Revoked, times.map(lambda one: one // 600 * 600), lines)
    return Record(
        time=time,
        expires=draw(st.integers(time + 1, TIME_MAX)),
        previous=tuple(sorted(draw(st.sets(ids, max_size=4)))),
        catalogs=tuple(draw(listings(one)) for one in catalogs),
        revoked=draw(st.dictionaries(names, revocations, max_size=20)),
        settled=draw(settled),
        next_key_hash=draw(st.none() | ids),
        issuers=tuple(draw(st.lists(ids, max_size=8))),
        results=draw(st.none() | st.just("https://example.org/results")),
    )


GOOD: dict[str, Any] = {"time": 0, "expires": 1, "previous": [], "catalogs": [], "revoked": {}}
noise = st.recursive(
    ids | times | st.booleans() | st.text(max_size=5) | st.integers(-5, 2**64 - 1),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["catalog", "listed", "delisted", "time", "reason", "ping"]), inner
        )
    ),
    max_leaves=20,
)


@given(records())
def test_records_survive(record: Record) -> None:
    payload = encode_record(record)
    assert decode_record(payload) == record
    assert encode_record(decode_record(payload)) == payload


@given(st.binary(max_size=200) | noise.map(encode))
def test_any_payload_is_read_or_refused(payload: bytes) -> None:
    with suppress(RefusedError):
        decode_record(payload)


@given(st.sampled_from([*GOOD, "settled", "next", "issuers", "results", "later"]), noise)
def test_any_value_of_a_key_is_read_or_refused(key: str, value: object) -> None:
    with suppress(RefusedError):
        record = decode_record(encode(GOOD | {key: value}))
        assert encode_record(record) == encode_record(decode_record(encode_record(record)))


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_key_is_refused(name: str) -> None:
    decode_record(encode(GOOD))
    with pytest.raises(RefusedError) as caught:
        decode_record(encode({key: value for key, value in GOOD.items() if key != name}))
    assert caught.value.code == Reason.MALFORMED


def test_a_payload_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(RefusedError) as caught:
        decode_record(bytes(RECORD_MAX + 1))
    assert caught.value.code == Reason.OVERSIZE


def test_a_record_that_no_reader_takes_is_not_written() -> None:
    for wrong in (
        Record(time=1, expires=1),
        Record(time=1, expires=2, settled=1),
        Record(time=0, expires=1, previous=(bytes(32), bytes(32))),
        Record(time=0, expires=1, revoked={"ping": Revoked(1, "Not rounded.")}),
        Record(time=0, expires=1, results="http://example.org"),
    ):
        with pytest.raises(ValueError):
            encode_record(wrong)


def test_a_signed_record_lists_what_it_is_given() -> None:
    old, new = bytes(32), bytes([1]) * 32
    ping = {"ping": Revoked(600, "Not needed.")}
    item = sign_record(
        [new, Listing(old, 5, 50)], bytes(32), time=9, expires=99, revoked=ping, delisted={new: 60}
    )
    verify(item)
    assert (item.kind, item.key) == (Kind.RECORD, public_key(bytes(32)))
    record = decode_record(item.payload)
    assert record.catalogs == (Listing(old, 5, 50), Listing(new, 0, 60))
    assert record.listed_at(new, 59, 1)
    assert not record.listed_at(new, 60, 1)
    assert not record.listed_at(bytes([2]) * 32, 10, 1)
    assert record.revoked_at("ping", 600)
    assert not record.revoked_at("ping", 599)
    assert not record.revoked_at("pong", 600)
