"""Questions and answers: equal in size where they must be, and each has one encoding."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from methrics.node.ohttp.binary_http import (
    Request,
    Response,
    decode_request,
    encode_request,
    encode_response,
)
from methrics.node.ohttp.envelope import seal
from methrics.node.ohttp.inner import (
    AGAIN_MAX,
    ANSWER_DOUBLINGS,
    ANSWER_SIZE,
    ANSWER_STEP,
    AUTHORITY,
    BOX,
    BOX_MAX,
    BOX_SIZE,
    DESCRIPTORS,
    QUESTION_MAX,
    RECORDS,
    STEP,
    Answer,
    Question,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
)
from methrics.node.ohttp.key_config import ExitKey
from methrics.node.ohttp.reading import prefixed
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import encode
from methrics.schema.wire.limits import ITEM_MAX, NOTICE_MAX, REPORT_MAX
from methrics.schema.wire.verdict import Reason

KEY = ExitKey(7, bytes(range(32)))
resources = st.sampled_from([BOX, RECORDS, DESCRIPTORS])
HEAD = b"\0\4POST\5https\x10methrics.invalid"
_seconds = st.integers(0, 2**64 - 1)
answers = st.builds(
    Answer,
    st.sampled_from(Reason),
    _seconds,
    st.none() | st.integers(0, AGAIN_MAX),
    st.lists(st.binary(max_size=5000), max_size=4).map(tuple),
)


@given(resources, st.binary(max_size=3000))
@example(BOX, b"")
@example(BOX, bytes(ITEM_MAX))
@example(BOX, bytes(STEP - 40))
@example(BOX, bytes(STEP - 39))
def test_a_question_is_read_back(resource: str, content: bytes) -> None:
    message = encode_question(resource, content)
    assert len(message) % STEP == 0
    assert decode_question(message) == Question(resource, content)


@given(resources, st.binary(max_size=3000))
def test_a_question_is_binary_http(resource: str, content: bytes) -> None:
    request = Request(b"POST", b"https", AUTHORITY, resource.encode(), (), content)
    message = encode_question(resource, content)
    assert decode_request(message) == request
    assert encode_request(request, len(message)) == message


@given(st.binary(max_size=REPORT_MAX), st.sampled_from(Reason), _seconds, _seconds)
def test_all_boxes_and_all_answers_to_them_are_equal_in_size(
    item: bytes, reason: Reason, time: int, again: int
) -> None:
    assert len(seal(KEY.config, encode_question(BOX, item)).box) == BOX_SIZE == 1335
    for answer in (Answer(reason, time), Answer(reason, time, again)):
        assert len(encode_answer(answer, box=True)) == ANSWER_SIZE


def test_the_largest_item_gives_the_largest_box() -> None:
    message = encode_question(BOX, bytes(ITEM_MAX))
    assert len(message) == QUESTION_MAX
    assert len(seal(KEY.config, message).box) == BOX_MAX == 66_615


def test_the_largest_erasure_has_more_than_one_step() -> None:
    """An erasure of the usual size has one step; nothing but its size says that it is one."""
    assert len(encode_question(BOX, bytes(NOTICE_MAX))) > STEP


def test_content_larger_than_any_item_is_not_sealed() -> None:
    with pytest.raises(RefusedError) as refused:
        encode_question(BOX, bytes(ITEM_MAX + 1))
    assert refused.value.code == Reason.OVERSIZE


def test_a_question_larger_than_any_is_refused_before_it_is_read() -> None:
    with pytest.raises(RefusedError) as refused:
        decode_question(bytes(QUESTION_MAX + STEP))
    assert refused.value.code == Reason.OVERSIZE


def _question(head: bytes, rest: bytes = b"\x04item\0") -> bytes:
    message = head + rest
    return message.ljust(-(-len(message) // STEP) * STEP, b"\0")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        bytes(STEP),
        encode_question(BOX, b"item")[:-1],
        encode_question(BOX, b"item") + b"\0",
        encode_question(BOX, b"item") + bytes(STEP),
        encode_question(BOX, b"item")[:-1] + b"\1",
        _question(b"\0\3GET" + HEAD[6:] + b"\6/1/box\0"),
        _question(HEAD.replace(b"\5https", b"\4http") + b"\6/1/box\0"),
        _question(HEAD.replace(b"\x10methrics.", b"\x0fmetrics.") + b"\6/1/box\0"),
        _question(HEAD + b"\6/2/box\0"),
        _question(HEAD + b"\7/1/box?\0"),
        _question(HEAD + b"\6/1/box" + prefixed(b"\1a\1b")),
        _question(HEAD + b"\6/1/box\0", b"\x40\x04item\0"),
        _question(HEAD + b"\6/1/box\0", b"\x04item" + prefixed(b"\1a\1b")),
        _question(b"\2" + HEAD[1:] + b"\6/1/box\0", b"\x04item\0\0"),
        _question(b"\x40\0" + HEAD[1:] + b"\6/1/box\0"),
        _question(HEAD + b"\6/1/box\0", b"\xbf\xff\xff\xff"),
    ],
)
def test_another_encoding_of_a_question_is_refused(message: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        decode_question(message)
    assert refused.value.code == Reason.MALFORMED


def test_the_questions_above_differ_from_an_accepted_one_in_one_point() -> None:
    assert decode_question(_question(HEAD + b"\6/1/box\0")) == Question(BOX, b"item")


@given(answers)
def test_an_answer_is_read_back(answer: Answer) -> None:
    message = encode_answer(answer, box=False)
    assert decode_answer(message) == answer
    doubled = len(message) // ANSWER_STEP
    assert len(message) == ANSWER_STEP * doubled
    assert doubled & doubled - 1 == 0


@given(answers.filter(lambda answer: not answer.items))
def test_an_answer_to_a_box_is_read_back(answer: Answer) -> None:
    assert decode_answer(encode_answer(answer, box=True)) == answer


def test_an_answer_to_another_question_is_no_answer_to_a_box() -> None:
    for box in (True, False):
        message = encode_answer(Answer(Reason.OK, 5), box=box)
        assert decode_answer(message, box=box) == Answer(Reason.OK, 5)
        with pytest.raises(RefusedError):
            decode_answer(message, box=not box)


def test_a_hint_of_more_than_a_day_is_taken_for_a_day() -> None:
    message = encode_answer(Answer(Reason.QUOTA, 5, AGAIN_MAX + 1), box=True)
    assert decode_answer(message).again == AGAIN_MAX


def test_the_largest_answer_has_a_mebibyte() -> None:
    most = ANSWER_STEP << ANSWER_DOUBLINGS
    message = encode_answer(Answer(Reason.OK, 5, items=(bytes(most - 100),)), box=False)
    assert len(message) == most == 1_048_576
    assert len(decode_answer(message).items[0]) == most - 100
    with pytest.raises(ValueError, match="too large"):
        encode_answer(Answer(Reason.OK, 5, items=(bytes(most),)), box=False)
    with pytest.raises(RefusedError) as refused:
        decode_answer(message + b"\0")
    assert refused.value.code == Reason.OVERSIZE


def _answer(content: object, size: int = ANSWER_SIZE, status: int = 200) -> bytes:
    return encode_response(Response(status, (), encode(content)), size)


_FIELDS: dict[str, object] = {"answer": "ok", "time": 5}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        _answer(_FIELDS, 129),
        _answer(_FIELDS, 0),
        _answer(_FIELDS, 2 * ANSWER_STEP),
        _answer(_FIELDS, status=500),
        _answer([]),
        _answer({"answer": "ok"}),
        _answer({"time": 5}),
        _answer(_FIELDS | {"other": 1}),
        _answer(_FIELDS | {"answer": "fine"}),
        _answer(_FIELDS | {"answer": 1}),
        _answer(_FIELDS | {"time": -1}),
        _answer(_FIELDS | {"time": True}),
        _answer(_FIELDS | {"again": -1}),
        _answer(_FIELDS | {"again": "soon"}),
        _answer(_FIELDS | {"items": []}),
        _answer(_FIELDS | {"items": b""}, ANSWER_STEP),
        _answer(_FIELDS | {"items": [1]}, ANSWER_STEP),
        _answer(_FIELDS | {"items": [b"item"]}),
        encode_response(Response(200, ((b"a", b"b"),), encode(_FIELDS)), ANSWER_SIZE),
        encode_response(Response(200, (), encode(_FIELDS) + b"\0"), ANSWER_SIZE),
    ],
)
def test_another_encoding_of_an_answer_is_refused(message: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        decode_answer(message)
    assert refused.value.code == Reason.MALFORMED


def test_the_answers_above_differ_from_an_accepted_one_in_one_point() -> None:
    assert decode_answer(_answer(_FIELDS)) == Answer(Reason.OK, 5)
    assert decode_answer(_answer(_FIELDS | {"items": [b"item"]}, ANSWER_STEP)).items == (b"item",)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    for message in (data, data.ljust(STEP, b"\0"), HEAD + data.ljust(STEP - len(HEAD), b"\0")):
        with pytest.raises(RefusedError):
            decode_question(message)
    for message in (data, b"\x01\x40\xc8\0" + prefixed(data)):
        with pytest.raises(RefusedError):
            decode_answer(message.ljust(ANSWER_SIZE, b"\0"))
