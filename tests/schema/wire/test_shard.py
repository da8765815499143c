"""Shards: parts of all ids, nested or apart."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methrics.schema.wire.shard import COUNTS, WHOLE, Shard, parse_shard, shard_of, shards_of

SHARDS = st.sampled_from([one for count in COUNTS for one in shards_of(count)])
IDS = st.binary(min_size=32, max_size=32)


@given(IDS, st.sampled_from(COUNTS))
def test_each_id_belongs_to_one_shard_of_a_number(item_id: bytes, count: int) -> None:
    own = [one for one in shards_of(count) if one.has(item_id)]
    assert len(own) == 1
    assert item_id.hex()[0] in own[0].digits


@given(SHARDS, SHARDS, IDS)
def test_two_shards_are_nested_or_apart(one: Shard, other: Shard, item_id: bytes) -> None:
    both = one.has(item_id) and other.has(item_id)
    meet = one.meet(other)
    assert (meet is not None and meet.has(item_id)) == both
    assert one.covers(other) == (set(one.digits) >= set(other.digits))


@given(SHARDS)
def test_a_shard_is_read_as_it_is_written(shard: Shard) -> None:
    assert parse_shard(str(shard)) == shard
    assert WHOLE.covers(shard)
    assert shard.is_whole == (shard == WHOLE)


def test_the_digits_of_all_shards_in_order_are_all_digits() -> None:
    for count in COUNTS:
        assert "".join(one.digits for one in shards_of(count)) == "0123456789abcdef"


def test_numbers_of_sixteen_shards_never_meet() -> None:
    firsts = [one.first(27) for one in shards_of(16)]
    assert firsts == sorted(set(firsts))
    assert firsts[-1] + (1 << 27) <= 1 << 31
    assert WHOLE.first(48) == 0


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "1/3", "1/32", "01/4", "1/4 ", "-1/4"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shard"):
        parse_shard(text)


@settings(max_examples=50)
@given(st.text(max_size=6))
def test_any_text_is_a_shard_or_refused(text: str) -> None:
    try:
        found = parse_shard(text)
    except ValueError:
        return
    assert str(found) == text


def test_numbers_of_other_types_are_no_shard() -> None:
    for index, count in ((True, 2), (1.0, 2), ("1", 2), (1, None)):
        with pytest.raises(ValueError, match="shard"):
            shard_of(index, count)
