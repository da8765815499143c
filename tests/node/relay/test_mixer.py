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

CATALOG, OTHER = b"c" * 32, b"o" * 32
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
        assert mixer.add("topic", CATALOG, *item(number), now) is Reason.OK
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
    out = [raw for one in mixed for raw in unpack(one.bundle).items]
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
    mixer.add("topic", CATALOG, *item(2), now, rest=rest)
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


def test_attack_a_crowd_does_not_make_resting_items_leave_early() -> None:
    """Whatever arrives, the soonest as well as the fullest window waits for its end."""
    mixer = Mixer(MixLimits(count=10, bytes_max=BUNDLE_MAX))
    mixer.add("topic", CATALOG, *item(0), 1.0, rest=1000.0)
    while mixer.add("topic", CATALOG, *item(len(mixer), 1024), 1.0, rest=1000.0) is Reason.OK:
        assert mixer.next_due(2.0) == 1020.0
    assert mixer.take(1019.9, random.Random(1)) == []
    assert sum(len(one.items) for one in mixer.take(1020.0, random.Random(1))) > 50


def test_items_that_no_peer_takes_do_not_wake_the_relay() -> None:
    mixer = Mixer(MixLimits(count=10, bytes_max=BUNDLE_MAX, rest=0))
    for number in range(60):
        mixer.add("topic", CATALOG, *item(number, 1024), 1.0)
    for mixed in mixer.take(2.0, random.Random(1)):
        mixer.put_back(mixed, 2.0)
    assert mixer.next_due(2.0) == 30.0
    assert mixer.take(3.0, random.Random(1)) == []


def test_without_a_rest_a_crowd_closes_the_window_early() -> None:
    mixer = filled(list(range(9)), count=10, rest=0)
    assert mixer.take(2.0, random.Random(1)) == []
    mixer.add("topic", CATALOG, *item(9), 2.0)
    assert mixer.next_due(2.0) == 2.0
    assert sum(len(one.items) for one in mixer.take(2.0, random.Random(1))) == 10


@given(st.lists(st.tuples(st.integers(0, 500), st.booleans()), unique_by=lambda one: one[0]))
def test_a_bundle_is_of_one_catalog_and_all_leave_when_the_window_closes(
    items: list[tuple[int, bool]],
) -> None:
    mixer = Mixer(MixLimits())
    for number, other in items:
        mixer.add("topic", OTHER if other else CATALOG, *item(number), number / 20)
    assert mixer.next_due(0.0) == (30.0 if items else None)
    mixed = mixer.take(30.0, random.Random(1))
    assert {one.about for one in mixed} == {OTHER if other else CATALOG for _, other in items}
    for one in mixed:
        about, raws = unpack(one.bundle)
        assert about == one.about
        expected = {item(number)[1] for number, other in items if (about == OTHER) == other}
        assert set(raws) <= expected


def test_topics_do_not_mix() -> None:
    mixer = filled([1, 2])
    mixer.add("other", CATALOG, *item(3), 1.0)
    mixed = mixer.take(31.0, random.Random(1))
    assert [(one.topic, len(one.items)) for one in mixed] == [("other", 1), ("topic", 2)]


def test_a_pooled_item_is_a_duplicate() -> None:
    mixer = filled([1])
    assert mixer.add("topic", CATALOG, *item(1), 2.0) is Reason.DUPLICATE
    assert item(1)[0] in mixer


def test_attack_a_full_pool_answers_quota_and_stays_bounded() -> None:
    mixer = Mixer(MixLimits(count=10**9, bytes_max=BUNDLE_MAX))
    answers = [mixer.add("topic", CATALOG, *item(number, 1024), 1.0) for number in range(200)]
    assert answers.count(Reason.QUOTA) == 200 - BUNDLE_MAX // (1024 + ITEM_COST)
    assert mixer.bytes_used <= BUNDLE_MAX


def test_items_that_another_relay_published_are_dropped() -> None:
    mixer = filled([1, 2, 3])
    assert mixer.discard([item(2)[0], item(9)[0]]) == 1
    mixed = mixer.take(31.0, random.Random(1))
    assert len(mixed[0].items) == 2
    assert filled([1]).discard([item(1)[0]]) == 1


def test_items_that_no_peer_took_wait_for_the_next_window_however_many() -> None:
    mixer = filled(list(range(10)), count=5, rest=0)
    (mixed,) = mixer.take(2.0, random.Random(1))
    mixer.put_back(mixed, 2.0)
    assert mixer.next_due(2.0) == 30.0
    assert mixer.take(29.0, random.Random(1)) == []
    assert len(mixer.take(30.0, random.Random(1))[0].items) == 10


def test_attack_strangers_do_not_take_the_room_of_items_that_are_put_back() -> None:
    mixer = Mixer(MixLimits(bytes_max=BUNDLE_MAX))
    mixer.add("topic", CATALOG, *item(0), 1.0)
    (mixed,) = mixer.take(30.0, random.Random(1))
    number = 1
    while mixer.add("topic", CATALOG, *item(number, 1024), 31.0) is Reason.OK:
        number += 1
    mixer.put_back(mixed, 31.0)
    mixer.put_back(mixed, 31.0)
    assert item(0)[0] in mixer
    assert len(mixer) == number


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
