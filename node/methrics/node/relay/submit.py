"""Encodes and decodes the requests and replies between a submitter and a relay (pure).

    ; /methrics/relay/1
    describe-request = {}
    description = { "box": bstr .size 32, "topics": [* tstr], "time": uint, "life": uint }
    ; /methrics/submit/1
    submit-request = [1*64 box]     ; box = bstr, see boxes.py
    submit-reply = [* reason]       ; reason = tstr, one per box and in the same order

A request that does not decode is answered with one reason for all of its boxes. Requests and
replies are CBOR in the deterministic form of SPEC.md. For other bytes, every decoder raises
RefusedError `oversize` or `malformed`, in bounded time and memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from methrics.node.relay.boxes import BOX_MAX, KEY_SIZE
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import decode, encode
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

DESCRIPTION_MAX = TOPICS_MAX * (TOPIC_MAX + 2) + 128
"""Most bytes of a description."""

REPLY_MAX = BOXES_MAX * 32 + 8
"""Most bytes of a submit reply; the longest reason code has 15."""

DESCRIBE_REQUEST = encode({})
"""The request of `/methrics/relay/1`: an empty map, to which a later version may add keys."""

DESCRIBE_MAX = 64
"""Most bytes of a describe request."""


@dataclass(frozen=True, slots=True)
class Description:
    """A relay's description of itself. No part of it identifies the relay after a restart.

    `box`: the relay's X25519 box key, 32 bytes. `topics`: the topics that the relay carries,
    sorted. `time`: the relay's clock (unix seconds), by which a submitter can notice that its own
    clock is wrong. `life`: seconds from the moment of receipt, after which a submitter must ask for
    the description again. A time of expiry would fail where the two clocks differ.
    """

    box: bytes
    topics: tuple[str, ...]
    time: int
    life: int


def encode_description(description: Description) -> bytes:
    """Encode the reply of `/methrics/relay/1`."""
    return encode(
        {
            "box": description.box,
            "topics": list(description.topics),
            "time": description.time,
            "life": description.life,
        }
    )


def decode_description(data: bytes) -> Description:
    """Decode the reply of `/methrics/relay/1`."""
    value = decode(data, limit=DESCRIPTION_MAX)
    if not isinstance(value, dict) or value.keys() != {"box", "topics", "time", "life"}:
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
    return Description(box, tuple(names), time, life)


def decode_describe_request(data: bytes) -> None:
    """Check the request of `/methrics/relay/1`, which must be an empty map."""
    if decode(data, limit=DESCRIBE_MAX) != {}:
        raise _malformed("a describe request is an empty map")


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


def encode_reply(reasons: Sequence[Reason]) -> bytes:
    """Encode the reply of `/methrics/submit/1`: one reason code per box."""
    return encode([str(reason) for reason in reasons])


def decode_reply(data: bytes, *, boxes: int) -> list[Reason]:
    """Decode the reply to a submit request that had `boxes` boxes; return a reason for each box."""
    value = decode(data, limit=REPLY_MAX)
    if not isinstance(value, list) or len(value) != boxes:
        raise _malformed("a reply holds one reason code per box")
    try:
        return [Reason(str(code)) for code in value]
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
