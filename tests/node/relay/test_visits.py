"""The messages of a visit: one size for all, and nothing but them is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.ohttp.inner import BOX_SIZE
from methrics.node.relay import visits
from methrics.node.relay.doors import AGAIN_MAX, BOX_ANSWER_SIZE
from methrics.node.relay.visits import VisitBox, VisitReply, VisitRequest
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import encode

EXIT = st.binary(min_size=32, max_size=32)
SHORT = st.binary(min_size=1, max_size=8)
BOX = SHORT.map(lambda seed: (seed * BOX_SIZE)[:BOX_SIZE])
REQUESTS = st.builds(
    VisitRequest,
    st.lists(st.builds(VisitBox, EXIT, BOX), min_size=16, max_size=16).map(tuple),
    st.lists(EXIT, min_size=32, max_size=32).map(tuple),
)
ANSWER = st.one_of(
    st.just(b""), SHORT.filter(any).map(lambda seed: (seed * BOX_ANSWER_SIZE)[:BOX_ANSWER_SIZE])
)
TIMES = st.integers(min_value=2**16, max_value=2**32 - 1)
REPLIES = st.builds(
    VisitReply,
    st.lists(ANSWER, min_size=32, max_size=32).map(tuple),
    TIMES,
    st.one_of(st.none(), st.integers(min_value=0, max_value=AGAIN_MAX)),
)
ONE_REQUEST = VisitRequest((VisitBox(bytes(32), bytes(BOX_SIZE)),) * 16, (bytes(32),) * 32)
ONE_REPLY = VisitReply((b"",) * 32, 1_800_000_000)


@given(REQUESTS)
def test_a_request_is_read_as_it_was_written_and_has_the_one_size(request: VisitRequest) -> None:
    data = visits.encode_visit_request(request)
    assert visits.decode_visit_request(data) == request
    assert len(data) == visits.REQUEST_SIZE


@given(REPLIES)
def test_a_reply_is_read_as_it_was_written(reply: VisitReply) -> None:
    data = visits.encode_visit_reply(reply)
    assert visits.decode_visit_reply(data) == reply
    assert len(data) <= visits.REPLY_MAX


@given(REPLIES, REPLIES)
def test_replies_that_take_the_boxes_have_one_size(one: VisitReply, other: VisitReply) -> None:
    sizes = {
        len(visits.encode_visit_reply(VisitReply(reply.answers, reply.time)))
        for reply in (one, other)
    }
    assert len(sizes) == 1


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RefusedError):
        visits.decode_visit_request(data)
    with pytest.raises(RefusedError):
        visits.decode_visit_reply(data)


@given(REQUESTS, st.data())
def test_a_changed_byte_is_refused_or_read_as_another_request(
    request: VisitRequest, data: st.DataObject
) -> None:
    raw = bytearray(visits.encode_visit_request(request))
    at = data.draw(st.integers(min_value=0, max_value=len(raw) - 1))
    raw[at] ^= data.draw(st.integers(min_value=1, max_value=255))
    try:
        found = visits.decode_visit_request(bytes(raw))
    except RefusedError:
        return
    assert found != request
    assert visits.encode_visit_request(found) == raw


@pytest.mark.parametrize(
    "value",
    [
        [],
        [[], []],
        [[[bytes(32), bytes(BOX_SIZE)]] * 15, [bytes(32)] * 32],
        [[[bytes(32), bytes(BOX_SIZE)]] * 16, [bytes(32)] * 31],
        [[[bytes(31), bytes(BOX_SIZE)]] * 16, [bytes(32)] * 32],
        [[[bytes(32), bytes(BOX_SIZE - 1)]] * 16, [bytes(32)] * 32],
        [[[bytes(32)]] * 16, [bytes(32)] * 32],
        [[bytes(32)] * 16, [bytes(32)] * 32],
        [[[bytes(32), bytes(BOX_SIZE)]] * 16, [0] * 32],
        {"boxes": [], "asked": []},
    ],
)
def test_a_request_of_another_shape_is_malformed(value: object) -> None:
    with pytest.raises(RefusedError) as raised:
        visits.decode_visit_request(encode(value))
    assert raised.value.code == "malformed"


@pytest.mark.parametrize(
    "change",
    [
        {"answers": [bytes(BOX_ANSWER_SIZE)] * 31},
        {"answers": [bytes(BOX_ANSWER_SIZE - 1)] * 32},
        {"answers": [0] * 32},
        {"time": -1},
        {"time": True},
        {"again": "soon"},
        {"more": 1},
    ],
)
def test_a_reply_of_another_shape_is_malformed(change: dict[str, object]) -> None:
    right = {"answers": [bytes(BOX_ANSWER_SIZE)] * 32, "time": 1_800_000_000}
    assert visits.decode_visit_reply(encode(right)) == ONE_REPLY
    with pytest.raises(RefusedError) as raised:
        visits.decode_visit_reply(encode(right | change))
    assert raised.value.code == "malformed"


def test_a_request_or_a_reply_that_is_too_long_is_not_read() -> None:
    for decode, data in (
        (visits.decode_visit_request, visits.encode_visit_request(ONE_REQUEST)),
        (visits.decode_visit_reply, bytes(visits.REPLY_MAX)),
    ):
        with pytest.raises(RefusedError) as raised:
            decode(data + b"\x00")
        assert raised.value.code == "oversize"


def test_a_hint_is_bounded() -> None:
    data = visits.encode_visit_reply(VisitReply((b"",) * 32, 0, AGAIN_MAX + 1))
    assert visits.decode_visit_reply(data).again == AGAIN_MAX


def test_the_handle_of_a_box_is_its_hash() -> None:
    assert visits.handle_of(b"abc").hex().startswith("ba7816bf")


@pytest.mark.parametrize(
    "request_",
    [
        VisitRequest(ONE_REQUEST.boxes[1:], ONE_REQUEST.asked),
        VisitRequest(ONE_REQUEST.boxes, ONE_REQUEST.asked[1:]),
        VisitRequest((VisitBox(bytes(32), b""), *ONE_REQUEST.boxes[1:]), ONE_REQUEST.asked),
        VisitRequest(ONE_REQUEST.boxes, (b"", *ONE_REQUEST.asked[1:])),
    ],
)
def test_no_request_of_another_size_is_written(request_: VisitRequest) -> None:
    with pytest.raises(ValueError, match="a visit"):
        visits.encode_visit_request(request_)


def test_no_reply_of_another_size_is_written() -> None:
    with pytest.raises(ValueError, match="a reply"):
        visits.encode_visit_reply(VisitReply((b"",) * 31, 0))
