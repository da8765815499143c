"""The mix pool: bounded, and its bundles tell neither the order nor the time of arrival."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.relay.mixer import ITEM_COST, Mixer, MixLimits, chunks
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.limits import BUNDLE_AIM, BUNDLE_ITEMS_MAX, BUNDLE_MAX
from methrics.schema.wire.verdict import Reason

ITEMS = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), st.sampled_from([1, 225, 1024, 65_000])),
    max_size=120,
    unique_by=lambda pair: pair[0],
)


def item(number: int, size: int = 225) -> tuple[bytes, bytes]:
    return number.to_bytes(32, "big"), number.to_bytes(4, "big") + bytes(size - 4)


def filled(numbers: list[int], *, now: float = 1.0, **limits: float) -> Mixer:
    mixer = Mixer(MixLimits(**limits))  # type: ignore[arg-type]
    for number in numbers:
        assert mixer.add("topic", *item(number), now) is Reason.OK
    return mixer


@given(ITEMS)
def test_chunks_keep_everything_and_fit(pairs: list[tuple[bytes, int]]) -> None:
    items = [(name, bytes(size)) for name, size in pairs]
    found = chunks(items)
    assert [pair for chunk in found for pair in chunk] == items
    for chunk in found:
        size = sum(len(raw) for _, raw in chunk)
        assert size <= BUNDLE_AIM or len(chunk) == 1
        assert len(chunk) <= BUNDLE_ITEMS_MAX


@given(st.lists(st.integers(0, 500), unique=True, min_size=1), st.integers())
def test_nothing_is_lost_and_nothing_doubled(numbers: list[int], seed: int) -> None:
    mixer = filled(numbers)
    mixed = mixer.take(31.0, random.Random(seed))
    out = [raw for one in mixed for raw in unpack(one.bundle)]
    assert sorted(out) == sorted(item(number)[1] for number in numbers)
    assert all(len(one.bundle) <= BUNDLE_MAX for one in mixed)
    assert (len(mixer), mixer.bytes_used) == (0, 0)


@pytest.mark.shows("NEW-6")
@given(st.permutations(list(range(40))))
def test_attack_the_order_of_arrival_does_not_show(order: list[int]) -> None:
    one = filled(list(range(40))).take(31.0, random.Random(5))
    two = filled(order).take(31.0, random.Random(5))
    assert [mixed.bundle for mixed in one] == [mixed.bundle for mixed in two]


def test_items_are_shuffled() -> None:
    order = list(range(40))
    mixed = filled(order).take(31.0, random.Random(5))
    assert [int.from_bytes(name, "big") for name, _ in mixed[0].items] != order


@given(st.floats(0, 29.9, exclude_max=False))
def test_attack_the_time_of_arrival_does_not_show(now: float) -> None:
    """Whenever in a window an item arrives, it leaves at the same moment."""
    mixer = filled([1], now=now, batch_window=30.0)
    assert mixer.next_due(now) == 30.0
    assert mixer.take(29.99, random.Random(1)) == []
    assert len(mixer.take(30.0, random.Random(1))) == 1


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_attack_items_that_came_together_leave_apart(now: float, rest: float) -> None:
    """An item leaves when the window of its own rest ends, whatever came with it."""
    mixer = filled([1], now=now)
    mixer.add("topic", *item(2), now, rest=rest)
    left = {
        name: due
        for due in ((now // 30 + 1) * 30, ((now + rest) // 30 + 1) * 30)
        for one in mixer.take(due, random.Random(1))
        for name, _ in one.items
    }
    assert left == {
        item(1)[0]: (now // 30 + 1) * 30,
        item(2)[0]: ((now + rest) // 30 + 1) * 30,
    }


def test_attack_a_crowd_that_rests_leaves_sooner_and_room_remains() -> None:
    mixer = Mixer(MixLimits(count=10**9, bytes_max=BUNDLE_MAX))
    most = BUNDLE_MAX // (1024 + ITEM_COST)
    for number in range(most):
        mixer.add("topic", *item(number, 1024), 1.0, rest=100.0 * number)
    assert mixer.next_due(2.0) == 2.0
    taken = mixer.take(2.0, random.Random(1))
    gone = sorted(int.from_bytes(name, "big") for one in taken for name, _ in one.items)
    assert gone == list(range(len(gone))), "the soonest first"
    assert mixer.bytes_used <= BUNDLE_MAX // 2 < mixer.bytes_used + 1024 + ITEM_COST
    assert mixer.next_due(2.0) == 100.0 * len(gone) // 30 * 30 + 30


def test_items_that_no_peer_takes_do_not_wake_the_relay() -> None:
    mixer = Mixer(MixLimits(count=10**9, bytes_max=BUNDLE_MAX))
    for number in range(60):
        mixer.add("topic", *item(number, 1024), 1.0)
    for mixed in mixer.take(2.0, random.Random(1)):
        mixer.put_back(mixed, 2.0)
    assert mixer.next_due(2.0) == 30.0
    assert mixer.take(3.0, random.Random(1)) == []


def test_a_crowd_closes_the_window_early() -> None:
    mixer = filled(list(range(9)), count=10)
    assert mixer.take(2.0, random.Random(1)) == []
    mixer.add("topic", *item(9), 2.0)
    assert mixer.next_due(2.0) == 2.0
    assert sum(len(one.items) for one in mixer.take(2.0, random.Random(1))) == 10


def test_topics_do_not_mix() -> None:
    mixer = filled([1, 2])
    mixer.add("other", *item(3), 1.0)
    mixed = mixer.take(31.0, random.Random(1))
    assert [(one.topic, len(one.items)) for one in mixed] == [("other", 1), ("topic", 2)]


def test_a_pooled_item_is_a_duplicate() -> None:
    mixer = filled([1])
    assert mixer.add("topic", *item(1), 2.0) is Reason.DUPLICATE
    assert item(1)[0] in mixer


def test_attack_a_full_pool_answers_quota_and_stays_bounded() -> None:
    mixer = Mixer(MixLimits(count=10**9, bytes_max=BUNDLE_MAX))
    answers = [mixer.add("topic", *item(number, 1024), 1.0) for number in range(200)]
    assert answers.count(Reason.QUOTA) == 200 - BUNDLE_MAX // (1024 + ITEM_COST)
    assert mixer.bytes_used <= BUNDLE_MAX


def test_items_that_another_relay_published_are_dropped() -> None:
    mixer = filled([1, 2, 3])
    assert mixer.discard([item(2)[0], item(9)[0]]) == 1
    mixed = mixer.take(31.0, random.Random(1))
    assert len(mixed[0].items) == 2
    assert filled([1]).discard([item(1)[0]]) == 1


def test_items_that_no_peer_took_wait_for_the_next_window_however_many() -> None:
    mixer = filled(list(range(10)), count=5)
    (mixed,) = mixer.take(2.0, random.Random(1))
    assert mixer.put_back(mixed, 2.0) == 10
    assert mixer.next_due(2.0) == 30.0
    assert mixer.take(29.0, random.Random(1)) == []
    assert len(mixer.take(30.0, random.Random(1))[0].items) == 10


def test_everything_leaves_when_the_relay_stops() -> None:
    mixer = filled([1, 2])
    assert mixer.take(1.0, random.Random(1)) == []
    assert len(mixer.take(1.0, random.Random(1), everything=True)) == 1
    assert mixer.next_due(1.0) is None


@pytest.mark.parametrize(
    "limits", [{"batch_window": 0}, {"count": 0}, {"bytes_max": 1}, {"rest": -1}]
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        MixLimits(**limits)
