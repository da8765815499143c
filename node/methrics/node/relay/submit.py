"""Encodes and decodes the requests and replies between a submitter and a relay (pure).

    ; /methrics/relay/1
    describe-request = { ? "topic": tstr }
    description = { "box": bstr .size 32, "topics": [* tstr], "time": uint, "life": uint,
                    ? "records": [0*4 bstr], ? "again": uint }
    ; /methrics/submit/1
    submit-request = [1*64 box]     ; box = bstr, see boxes.py
    submit-reply = { "answers": [1*64 reason], ? "again": uint }
                                    ; reason = tstr, one per box and in the same order

`records` are those of the topic that was asked for. `again` is a hint of a relay that is full: the
number of seconds after which to come back. A request that does not decode is answered with one
reason for all of its boxes. Requests and replies are CBOR in the deterministic form of SPEC.md. For
other bytes, every decoder raises RefusedError `oversize` or `malformed`, in bounded time and
memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from methrics.node.relay.boxes import BOX_MAX, KEY_SIZE
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import Value, decode, encode
from methrics.schema.wire.limits import RECORD_MAX
from methrics.schema.wire.verdict import Reason

SUBMIT = "/methrics/submit/1"
RELAY = "/methrics/relay/1"

BOXES_MAX = 64
"""Most boxes in one request, so that a request costs a relay about 10 ms of processor time."""

SUBMIT_MAX = 2 * BOX_MAX + BOXES_MAX * 8
"""Most bytes of a submit request: enough for one box with the largest item (a catalog) and 48 boxes
with a report."""

TOPICS_MAX = 256
"""Most topics of one relay."""

TOPIC_MAX = 128
"""Most bytes of one topic name."""

RECORDS_MAX = 4
"""Most records of one topic in a description: the newest, and two that prove an equivocation."""

DESCRIPTION_MAX = TOPICS_MAX * (TOPIC_MAX + 2) + RECORDS_MAX * (RECORD_MAX + 5) + 128
"""Most bytes of a description."""

AGAIN_MAX = 86_400
"""Most seconds of a hint when to come back. A relay that names more would keep apps away."""

REPLY_MAX = BOXES_MAX * 32 + 32
"""Most bytes of a submit reply; the longest reason code has 15."""

DESCRIBE_REQUEST = encode({})
"""The request of `/methrics/relay/1` that names no topic."""

DESCRIBE_MAX = TOPIC_MAX + 16
"""Most bytes of a describe request."""


@dataclass(frozen=True, slots=True)
class Description:
    """A relay's description of itself. No part of it identifies the relay after a restart.

    `box`: the relay's X25519 box key, 32 bytes. `topics`: the topics that the relay carries,
    sorted. `time`: the relay's clock (unix seconds), by which a submitter can notice that its own
    clock is wrong. `life`: seconds from the moment of receipt, after which a submitter must ask for
    the description again. A time of expiry would fail where the two clocks differ. `records`: the
    bytes of the namespace records of the topic that was asked for, the newest first; they are not
    checked yet. `again`: seconds after which to come back, if the relay is full.
    """

    box: bytes
    topics: tuple[str, ...]
    time: int
    life: int
    records: tuple[bytes, ...] = ()
    again: int | None = None


def encode_description(description: Description) -> bytes:
    """Encode the reply of `/methrics/relay/1`."""
    fields: dict[str, object] = {
        "box": description.box,
        "topics": list(description.topics),
        "time": description.time,
        "life": description.life,
    }
    if description.records:
        fields["records"] = list(description.records)
    if description.again is not None:
        fields["again"] = description.again
    return encode(fields)


_DESCRIBED = frozenset({"box", "topics", "time", "life"})


def decode_description(data: bytes) -> Description:
    """Decode the reply of `/methrics/relay/1`."""
    value = decode(data, limit=DESCRIPTION_MAX)
    if not isinstance(value, dict) or value.keys() - {"records", "again"} != _DESCRIBED:
        raise _malformed("a description has box, topics, time and life")
    box, topics, time, life = value["box"], value["topics"], value["time"], value["life"]
    if not isinstance(box, bytes) or len(box) != KEY_SIZE:
        raise _malformed(f"a box key has {KEY_SIZE} bytes")
    if not (type(time) is int and type(life) is int and time >= 0 and life >= 0):
        raise _malformed("time and life are whole seconds")
    if not isinstance(topics, list) or len(topics) > TOPICS_MAX:
        raise _malformed(f"topics is an array of at most {TOPICS_MAX}")
    names = [name for name in topics if isinstance(name, str)]
    if len(names) != len(topics) or any(len(name.encode()) > TOPIC_MAX for name in names):
        raise _malformed(f"a topic is text of at most {TOPIC_MAX} bytes")
    if names != sorted(set(names)):
        raise _malformed("topics must be sorted, each once")
    return Description(box, tuple(names), time, life, _records(value), _again(value))


def _records(value: Mapping[str, Value]) -> tuple[bytes, ...]:
    records = value.get("records", [])
    if not isinstance(records, list) or len(records) > RECORDS_MAX:
        raise _malformed(f"records is an array of at most {RECORDS_MAX}")
    found = [one for one in records if isinstance(one, bytes)]
    if len(found) != len(records) or any(len(one) > RECORD_MAX for one in found):
        raise _malformed(f"a record is a byte string of at most {RECORD_MAX} bytes")
    return tuple(found)


def _again(value: Mapping[str, Value]) -> int | None:
    """Return the hint in a reply, at most `AGAIN_MAX`, or None."""
    if "again" not in value:
        return None
    again = value["again"]
    if type(again) is not int or again < 0:
        raise _malformed("again is whole seconds")
    return min(again, AGAIN_MAX)


def encode_describe_request(topic: str | None = None) -> bytes:
    """Encode the request of `/methrics/relay/1`, which asks for the records of `topic`, too."""
    return DESCRIBE_REQUEST if topic is None else encode({"topic": topic})


def decode_describe_request(data: bytes) -> str | None:
    """Decode the request of `/methrics/relay/1`; return the topic that it names, or None."""
    value = decode(data, limit=DESCRIBE_MAX)
    if value == {}:
        return None
    topic = value.get("topic") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(topic, str) or len(topic.encode()) > TOPIC_MAX:
        raise _malformed("a describe request is a map with at most a topic")
    return topic


def encode_request(boxes: Sequence[bytes]) -> bytes:
    """Encode the request of `/methrics/submit/1`. Raises ValueError unless there are 1 to
    `BOXES_MAX` boxes."""
    if not 1 <= len(boxes) <= BOXES_MAX:
        raise ValueError(f"a request holds 1 to {BOXES_MAX} boxes, not {len(boxes)}")
    return encode(list(boxes))


def decode_request(data: bytes) -> list[bytes]:
    """Decode the request of `/methrics/submit/1`; return its boxes, which stay sealed."""
    value = decode(data, limit=SUBMIT_MAX)
    if not isinstance(value, list) or not 1 <= len(value) <= BOXES_MAX:
        raise _malformed(f"a request is an array of 1 to {BOXES_MAX} boxes")
    boxes = [box for box in value if isinstance(box, bytes)]
    if len(boxes) != len(value):
        raise _malformed("a box is a byte string")
    if any(len(box) > BOX_MAX for box in boxes):
        raise RefusedError(Reason.OVERSIZE, "a box is larger than any item needs")
    return boxes


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a submit request: a reason code per box, and when to come back, if the relay
    was full (seconds)."""

    answers: tuple[Reason, ...]
    again: int | None = None


def encode_reply(reply: Reply) -> bytes:
    """Encode the reply of `/methrics/submit/1`."""
    fields: dict[str, object] = {"answers": [str(reason) for reason in reply.answers]}
    return encode(fields if reply.again is None else fields | {"again": reply.again})


def decode_reply(data: bytes, *, boxes: int) -> Reply:
    """Decode the reply to a submit request that had `boxes` boxes."""
    value = decode(data, limit=REPLY_MAX)
    if not isinstance(value, dict) or value.keys() - {"again"} != {"answers"}:
        raise _malformed("a reply has answers")
    answers = value["answers"]
    if not isinstance(answers, list) or len(answers) != boxes:
        raise _malformed("a reply holds one reason code per box")
    try:
        return Reply(tuple(Reason(str(code)) for code in answers), _again(value))
    except ValueError as error:
        raise _malformed("a reply holds reason codes only") from error


def split_request(boxes: Sequence[bytes]) -> list[list[bytes]]:
    """Distribute the boxes, in order, over requests that keep the limits."""
    requests: list[list[bytes]] = []
    size = SUBMIT_MAX
    for box in boxes:
        needed = len(box) + 8
        if not requests or size + needed > SUBMIT_MAX or len(requests[-1]) == BOXES_MAX:
            requests.append([])
            size = 8
        requests[-1].append(box)
        size += needed
    return requests


def _malformed(message: str) -> RefusedError:
    return RefusedError(Reason.MALFORMED, message)
