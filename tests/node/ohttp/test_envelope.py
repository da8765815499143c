"""Boxes and their answers: what was sealed opens again, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.ohttp.envelope import open_box, seal
from methrics.node.ohttp.inner import (
    BOX,
    BOX_SIZE,
    Answer,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
)
from methrics.node.ohttp.key_config import (
    ExitKey,
    decode_key_configs,
    encode_key_configs,
)
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

KEY = ExitKey(7, bytes(range(32)))


def test_a_box_goes_to_the_exit_and_its_answer_comes_back() -> None:
    sealed = seal(KEY.config, encode_question(BOX, b"item"))
    opened = open_box(sealed.box, {7: KEY})
    assert decode_question(opened.message).content == b"item"
    answer = opened.seal(encode_answer(Answer(Reason.OK, 5, again=3), box=True))
    assert decode_answer(sealed.open(answer)) == Answer(Reason.OK, 5, again=3)


@given(st.binary(max_size=1024), st.sampled_from(Reason), st.integers(0, 1 << 40))
def test_all_boxes_and_all_answers_to_them_are_equal_in_size(
    item: bytes, reason: Reason, time: int
) -> None:
    assert len(seal(KEY.config, encode_question(BOX, item)).box) == BOX_SIZE
    answer = Answer(reason, time, again=time)
    assert len(encode_answer(answer, box=True)) == len(
        encode_answer(Answer(Reason.OK, 0), box=True)
    )


def test_a_box_for_another_key_is_refused_with_its_reason() -> None:
    box = seal(KEY.config, b"message").box
    with pytest.raises(RefusedError) as refused:
        open_box(box, {8: ExitKey(8, KEY.secret)})
    assert refused.value.code == Reason.BAD_KEY


@given(st.integers(0, 8 * 100 - 1))
def test_attack_a_tagged_box_does_not_open(bit: int) -> None:
    box = bytearray(seal(KEY.config, b"message" * 10).box)
    bit %= 8 * len(box)
    box[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RefusedError):
        open_box(bytes(box), {7: KEY})


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    for read in (decode_question, decode_answer):
        with pytest.raises(RefusedError):
            read(data)
    with pytest.raises(RefusedError):
        open_box(data, {7: KEY})


def test_key_configurations_are_read_back() -> None:
    document = encode_key_configs([KEY.config, ExitKey(8, bytes(32)).config])
    assert decode_key_configs(document) == [KEY.config, ExitKey(8, bytes(32)).config]
