"""The words between submitter and relay: round trips, bounds, and refusals for all other bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from methrics.node.relay import submit
from methrics.node.relay.boxes import BOX_MAX, BoxKey, seal
from methrics.node.relay.submit import Description, Reply
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import encode
from methrics.schema.wire.limits import RECORD_MAX
from methrics.schema.wire.verdict import Reason

TOPICS = st.lists(
    st.from_regex(r"/methrics/1/[a-z]{1,20}-[a-z2-7]{16}/cbor", fullmatch=True),
    unique=True,
    max_size=8,
)
DESCRIPTIONS = st.builds(
    Description,
    box=st.binary(min_size=32, max_size=32),
    topics=TOPICS.map(lambda names: tuple(sorted(names))),
    time=st.integers(0, 2**40),
    life=st.integers(0, 2**40),
    records=st.lists(st.binary(max_size=300), max_size=submit.RECORDS_MAX).map(tuple),
    again=st.none() | st.integers(0, submit.AGAIN_MAX),
)
REPLIES = st.builds(
    Reply,
    answers=st.lists(st.sampled_from(list(Reason)), max_size=submit.BOXES_MAX).map(tuple),
    again=st.none() | st.integers(0, submit.AGAIN_MAX),
)


@given(DESCRIPTIONS)
def test_descriptions_come_back(description: Description) -> None:
    assert submit.decode_description(submit.encode_description(description)) == description


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=submit.BOXES_MAX))
def test_requests_come_back(boxes: list[bytes]) -> None:
    assert submit.decode_request(submit.encode_request(boxes)) == boxes


@given(REPLIES)
def test_replies_come_back(reply: Reply) -> None:
    assert submit.decode_reply(submit.encode_reply(reply), boxes=len(reply.answers)) == reply


@given(st.none() | st.text(max_size=submit.TOPIC_MAX // 4))
def test_describe_requests_come_back(topic: str | None) -> None:
    asked = submit.encode_describe_request(topic)
    assert submit.decode_describe_request(asked) == topic
    assert len(asked) <= submit.DESCRIBE_MAX


def test_the_describe_request_without_a_topic_is_one_byte() -> None:
    assert submit.decode_describe_request(submit.DESCRIBE_REQUEST) is None
    assert submit.DESCRIBE_REQUEST == b"\xa0"


def test_the_longest_topic_fits_a_describe_request() -> None:
    topic = "a" * submit.TOPIC_MAX
    assert submit.decode_describe_request(submit.encode_describe_request(topic)) == topic


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"topic": 1},
        {"topic": "a" * (submit.TOPIC_MAX + 1)},
        {"topic": "a", "more": 1},
        {"a": 1},
    ],
)
def test_another_describe_request_is_refused(value: object) -> None:
    with pytest.raises(RefusedError):
        submit.decode_describe_request(encode(value))


def test_attack_a_hint_of_years_counts_as_a_day() -> None:
    reply = encode({"answers": ["quota"], "again": 2**40})
    assert submit.decode_reply(reply, boxes=1).again == submit.AGAIN_MAX


def test_the_largest_description_fits() -> None:
    topics = tuple(f"{n:0{submit.TOPIC_MAX}}" for n in range(submit.TOPICS_MAX))
    records = (bytes(RECORD_MAX),) * submit.RECORDS_MAX
    description = Description(bytes(32), topics, 2**40, 2**40, records, submit.AGAIN_MAX)
    said = submit.encode_description(description)
    assert submit.decode_description(said) == description
    assert len(said) <= submit.DESCRIPTION_MAX


@settings(max_examples=300)
@given(st.binary(max_size=300))
@example(b"")
@example(b"\x80")
@example(b"\x9b" + b"\xff" * 8)
@example(b"\xbb" + b"\xff" * 8)
@example(b"\x81" * 200)
def test_any_bytes_get_a_value_or_a_reason(data: bytes) -> None:
    for read in (
        submit.decode_description,
        submit.decode_request,
        submit.decode_describe_request,
        lambda data: submit.decode_reply(data, boxes=3),
    ):
        with contextlib.suppress(RefusedError):
            read(data)


@pytest.mark.parametrize(
    "change",
    [
        {"box": b"short"},
        {"box": "text" * 8},
        {"topics": "text"},
        {"topics": ["b", "a"]},
        {"topics": ["a", "a"]},
        {"topics": [1]},
        {"topics": ["a" * (submit.TOPIC_MAX + 1)]},
        {"topics": [f"{n:04}" for n in range(submit.TOPICS_MAX + 1)]},
        {"time": -1},
        {"time": True},
        {"life": -1},
        {"life": True},
        {"life": "soon"},
        {"records": b""},
        {"records": ["text"]},
        {"records": [b""] * (submit.RECORDS_MAX + 1)},
        {"records": [bytes(RECORD_MAX + 1)]},
        {"again": -1},
        {"again": True},
        {"again": "soon"},
        {"expires": 1},
        {"address": "more than it may say"},
    ],
    ids=lambda change: f"{next(iter(change))}={str(next(iter(change.values())))[:12]}",
)
def test_a_description_that_says_otherwise_is_refused(change: dict[str, object]) -> None:
    fields: dict[str, object] = {"box": bytes(32), "topics": ["a"], "time": 1, "life": 1}
    submit.decode_description(encode(fields))
    with pytest.raises(RefusedError) as caught:
        submit.decode_description(encode(fields | change))
    assert caught.value.code == Reason.MALFORMED


@pytest.mark.parametrize("value", [[], ["text"], [b"box", 1], {}, [b""] * (submit.BOXES_MAX + 1)])
def test_a_request_is_one_to_so_many_byte_strings(value: object) -> None:
    with pytest.raises(RefusedError) as caught:
        submit.decode_request(encode(value))
    assert caught.value.code == Reason.MALFORMED


def test_attack_an_oversize_request_is_refused_unread() -> None:
    with pytest.raises(RefusedError) as caught:
        submit.decode_request(b"\xff" * (submit.SUBMIT_MAX + 1))
    assert caught.value.code == Reason.OVERSIZE


def test_attack_an_oversize_box_is_refused_unopened() -> None:
    with pytest.raises(RefusedError) as caught:
        submit.decode_request(encode([bytes(BOX_MAX + 1)]))
    assert caught.value.code == Reason.OVERSIZE


@pytest.mark.parametrize(
    "value",
    [
        ["ok"],
        {},
        {"answers": []},
        {"answers": ["ok", "ok"]},
        {"answers": ["fine"]},
        {"answers": [0]},
        {"answers": "ok"},
        {"answers": ["ok"], "again": -1},
        {"answers": ["ok"], "again": False},
        {"answers": ["ok"], "more": 1},
        {"again": 1},
    ],
)
def test_a_reply_is_one_known_code_per_box(value: object) -> None:
    with pytest.raises(RefusedError):
        submit.decode_reply(encode(value), boxes=1)


@pytest.mark.parametrize("count", [0, submit.BOXES_MAX + 1])
def test_a_request_of_another_length_is_not_made(count: int) -> None:
    with pytest.raises(ValueError):
        submit.encode_request([b"box"] * count)


@given(st.lists(st.sampled_from([0, 1024, 1300, 65_000]), max_size=150))
def test_split_requests_keep_order_and_fit(sizes: list[int]) -> None:
    key = BoxKey.from_seed(b"k" * 32)
    sealed = {size: seal(bytes(size), key.public) for size in set(sizes)}
    boxes = [sealed[size] for size in sizes]
    requests = submit.split_request(boxes)
    assert [box for request in requests for box in request] == boxes
    for request in requests:
        assert submit.decode_request(submit.encode_request(request)) == request
