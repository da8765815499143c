"""The words of the doors of a relay: round trips, bounds, and refusals for all other bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from methrics.node.relay import doors
from methrics.node.relay.doors import Descriptors, DoorReply, EntryRequest
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import encode

EXITS = st.binary(min_size=32, max_size=32)
BOXES = st.lists(st.binary(max_size=200), min_size=1, max_size=doors.BOXES_MAX)
AGAINS = st.integers(0, doors.AGAIN_MAX)
REPLIES = st.builds(DoorReply, answers=BOXES.map(tuple), again=st.none() | AGAINS) | st.builds(
    DoorReply, again=AGAINS
)
DESCRIPTORS = st.builds(
    Descriptors,
    time=st.integers(0, 2**40),
    raws=st.lists(st.binary(max_size=300), max_size=doors.DESCRIPTORS_COUNT).map(tuple),
)


@given(BOXES)
def test_requests_to_an_exit_come_back(boxes: list[bytes]) -> None:
    assert doors.decode_exit_request(doors.encode_exit_request(boxes)) == tuple(boxes)


@given(EXITS, BOXES)
def test_requests_to_an_entry_come_back(exit_id: bytes, boxes: list[bytes]) -> None:
    data = doors.encode_entry_request(exit_id, boxes)
    assert doors.decode_entry_request(data) == EntryRequest(exit_id, tuple(boxes))


@given(REPLIES)
def test_replies_come_back(reply: DoorReply) -> None:
    count = len(reply.answers) or 7
    assert doors.decode_reply(doors.encode_reply(reply), boxes=count) == reply


@given(DESCRIPTORS)
def test_descriptors_come_back(descriptors: Descriptors) -> None:
    assert doors.decode_descriptors(doors.encode_descriptors(descriptors)) == descriptors


@given(st.binary(max_size=400))
@example(b"\x9f" * 300)
@example(b"\x9b" + b"\xff" * 8)
def test_other_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    for decoder, encoder in (
        (doors.decode_exit_request, doors.encode_exit_request),
        (doors.decode_entry_request, lambda one: doors.encode_entry_request(*one)),
        (doors.decode_descriptors, doors.encode_descriptors),
        (lambda one: doors.decode_reply(one, boxes=1), doors.encode_reply),
    ):
        with contextlib.suppress(RefusedError):
            assert encoder(decoder(data)) == data


@pytest.mark.parametrize("value", [[], [b""] * 65, ["a"], {"a": 1}, 1, [b"", 1], [[b""]]])
def test_other_values_are_no_request_to_an_exit(value: object) -> None:
    with pytest.raises(RefusedError, match="box"):
        doors.decode_exit_request(encode(value))


@pytest.mark.parametrize(
    "value",
    [
        [b"e" * 32],
        [b"e" * 31, [b"box"]],
        ["e" * 32, [b"box"]],
        [b"e" * 32, []],
        [b"e" * 32, [b"box"], 1],
        {"exit": b"e" * 32},
    ],
)
def test_other_values_are_no_request_to_an_entry(value: object) -> None:
    with pytest.raises(RefusedError):
        doors.decode_entry_request(encode(value))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"answers": []},
        {"answers": [b""], "again": -1},
        {"answers": [b""], "again": "1"},
        {"answers": [b""], "more": 1},
        {"answers": ["a"]},
        {"answers": [b"", b""]},
        {"answers": [bytes(doors.ANSWER_MAX + 1)]},
        [b""],
    ],
)
def test_other_values_are_no_reply(value: object) -> None:
    with pytest.raises(RefusedError):
        doors.decode_reply(encode(value), boxes=1)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"time": 1},
        {"time": -1, "descriptors": []},
        {"time": 1, "descriptors": b""},
        {"time": 1, "descriptors": [1]},
        {"time": 1, "descriptors": [b""] * (doors.DESCRIPTORS_COUNT + 1)},
        {"time": 1, "descriptors": [], "more": 1},
    ],
)
def test_other_values_are_no_descriptors(value: object) -> None:
    with pytest.raises(RefusedError):
        doors.decode_descriptors(encode(value))


def test_64_boxes_with_reports_and_two_of_the_largest_fit_a_request() -> None:
    report = bytes(1280 + 55)
    assert doors.split_boxes([report] * 62 + [bytes(doors.BOX_MAX)] * 2) == [
        [report] * 62 + [bytes(doors.BOX_MAX)] * 2
    ]
    data = doors.encode_entry_request(bytes(32), [report] * 64)
    assert len(data) < doors.ENTRY_REQUEST_MAX


@given(st.lists(st.sampled_from([0, 1335, 60_000, doors.BOX_MAX]), max_size=200))
def test_boxes_are_split_into_requests_that_decode(sizes: list[int]) -> None:
    boxes = [bytes(size) for size in sizes]
    requests = doors.split_boxes(boxes)
    for one in requests:
        assert doors.decode_exit_request(doors.encode_exit_request(one)) == tuple(one)
        assert doors.decode_entry_request(doors.encode_entry_request(bytes(32), one))
    assert [box for one in requests for box in one] == boxes


def test_the_largest_request_and_reply_keep_their_limits_with_the_heads() -> None:
    whole, rest = divmod(doors.BOXES_SIZE, doors.BOX_MAX + 5)
    boxes = [bytes(doors.BOX_MAX)] * whole + [bytes(rest - 5)]
    assert len(doors.encode_exit_request(boxes)) <= doors.EXIT_REQUEST_MAX
    assert len(doors.encode_entry_request(bytes(32), boxes)) <= doors.ENTRY_REQUEST_MAX
    with pytest.raises(ValueError, match="bytes together"):
        doors.encode_exit_request([*boxes, b""])
    answers = (bytes(doors.ANSWER_MAX), bytes(doors.ANSWERS_SIZE - doors.ANSWER_MAX - 10))
    assert len(doors.encode_reply(DoorReply(answers, doors.AGAIN_MAX))) <= doors.REPLY_MAX
    with pytest.raises(ValueError, match="answers"):
        doors.encode_reply(DoorReply((*answers, b"")))


def test_a_reply_without_answers_must_say_when_to_come_back() -> None:
    with pytest.raises(ValueError, match="come back"):
        doors.encode_reply(DoorReply())


def test_a_hint_is_at_most_a_day() -> None:
    data = encode({"answers": [], "again": 2**40})
    assert doors.decode_reply(data, boxes=3).again == doors.AGAIN_MAX


def test_as_many_descriptors_as_fit_are_given() -> None:
    raws = tuple(bytes((i,)) * 16_384 for i in range(100))
    some = doors.fitting(raws)
    assert raws[: len(some)] == some
    assert 60 < len(some) < 64
    assert len(doors.encode_descriptors(Descriptors(2**40, some))) <= doors.DESCRIPTORS_SIZE
    with pytest.raises(ValueError, match="fit"):
        doors.encode_descriptors(Descriptors(1, raws))


def test_a_box_over_the_limit_is_refused_before_it_is_opened() -> None:
    with pytest.raises(RefusedError) as refused:
        doors.decode_exit_request(encode([bytes(doors.BOX_MAX + 1)]))
    assert refused.value.code == "oversize"
