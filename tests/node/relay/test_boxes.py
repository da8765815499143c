"""Boxes: items survive sealing, all boxes with a report have one size, other bytes are refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_box_seal, sodium_pad

from methrics.node.relay.boxes import BOX_MAX, BOX_STEP, BoxKey, seal, unseal
from methrics.schema.errors import RefusedError
from methrics.schema.wire.limits import ITEM_MAX, REPORT_MAX
from methrics.schema.wire.verdict import Reason

KEY = BoxKey.from_seed(b"k" * 32)
OTHER = BoxKey.from_seed(b"o" * 32)


@given(st.binary(max_size=4096))
@example(b"")
@example(b"x" * (BOX_STEP - 1))
@example(b"x" * BOX_STEP)
@example(b"x" * ITEM_MAX)
def test_an_unsealed_box_gives_the_same_item(item: bytes) -> None:
    assert unseal(seal(item, KEY.public), KEY) == item


def test_every_report_gives_a_box_of_the_same_size() -> None:
    sizes = {len(seal(b"r" * size, KEY.public)) for size in (1, 256, REPORT_MAX)}
    assert sizes == {BOX_STEP + 48}


def test_the_largest_item_gives_the_largest_box() -> None:
    assert len(seal(b"c" * ITEM_MAX, KEY.public)) == BOX_MAX


def test_the_same_item_never_gives_the_same_box() -> None:
    assert seal(b"item", KEY.public) != seal(b"item", KEY.public)


def test_an_item_over_the_limit_is_not_sealed() -> None:
    with pytest.raises(RefusedError) as caught:
        seal(b"x" * (ITEM_MAX + 1), KEY.public)
    assert caught.value.code == Reason.OVERSIZE


@pytest.mark.parametrize("key", [b"", b"short", bytes(32), b"\x01" + bytes(31), bytes(33)])
def test_an_invalid_box_key_is_refused(key: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        seal(b"item", key)
    assert caught.value.code == Reason.BAD_KEY


@settings(max_examples=300)
@given(st.binary(max_size=3000))
@example(bytes(BOX_STEP + 48))
@example(b"")
@example(bytes(48))
def test_any_bytes_are_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        unseal(data, KEY)
    assert caught.value.code == Reason.MALFORMED


def test_a_box_over_the_limit_is_refused_before_it_is_opened() -> None:
    with pytest.raises(RefusedError) as caught:
        unseal(bytes(BOX_MAX + 1), KEY)
    assert caught.value.code == Reason.OVERSIZE


def test_a_box_for_another_relay_does_not_open() -> None:
    with pytest.raises(RefusedError):
        unseal(seal(b"item", OTHER.public), KEY)


@given(st.integers(min_value=0, max_value=BOX_STEP + 47), st.integers(1, 255))
def test_attack_a_changed_byte_is_noticed(at: int, change: int) -> None:
    box = bytearray(seal(b"item", KEY.public))
    box[at] ^= change
    with pytest.raises(RefusedError):
        unseal(bytes(box), KEY)


@pytest.mark.parametrize(
    "padded",
    [
        bytes(BOX_STEP),
        b"x" * BOX_STEP,
        sodium_pad(b"item", BOX_STEP) + bytes(BOX_STEP),
        sodium_pad(b"item", 64),
    ],
    ids=["no-marker", "no-zeros", "one-step-too-many", "not-a-step"],
)
def test_padding_has_one_form(padded: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        unseal(crypto_box_seal(padded, KEY.public), KEY)
    assert caught.value.code == Reason.MALFORMED


def test_fresh_keys_differ_and_the_secret_is_not_shown() -> None:
    one, two = BoxKey.fresh(), BoxKey.fresh()
    assert one.public != two.public
    assert "secret" not in repr(one)
