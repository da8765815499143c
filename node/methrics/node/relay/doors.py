"""Encodes and decodes what the doors of a relay are asked and what they answer (pure).

    ; /methrics/exit/1
    exit-request = boxes
    boxes = [1*64 box]              ; box = bstr, an encapsulated request (SPEC.md, section 16)
    ; /methrics/entry/1
    entry-request = [exit, boxes]   ; exit = bstr .size 32, the key of the exit's peer id
    ; the reply of both
    door-reply = { "answers": [0*64 bstr], ? "again": uint }
    ; /methrics/descriptors/1, whose request is empty
    descriptors-reply = { "time": uint, "descriptors": [0*128 bstr] }

A reply holds one answer for each box, in the same order: an encapsulated response, or empty bytes
for a box that does not open. Or it holds no answer at all, and `again`: the number of seconds after
which to come back, because the exit cannot be reached, or a relay is full. Everything is CBOR in
the deterministic form of SPEC.md. For other bytes, every decoder raises RefusedError `oversize` or
`malformed`, in bounded time and memory. The HTTP doors carry the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import Value, decode, encode
from methrics.schema.wire.limits import ITEM_MAX
from methrics.schema.wire.verdict import Reason

EXIT = "/methrics/exit/1"
ENTRY = "/methrics/entry/1"
DESCRIPTORS = "/methrics/descriptors/1"

EXIT_ID_SIZE = 32
"""Bytes of an exit's id: the Ed25519 key that its peer id holds."""

BOXES_MAX = 64
"""Most boxes in one request, so that a request costs an exit about 20 ms of processor time."""

BOX_MAX = (ITEM_MAX // 1280 + 1) * 1280 + 7 + 32 + 16
"""Most bytes of a box: the steps of the largest item, the header, the sender's key, the tag."""

BOXES_SIZE = 256 * 1024
"""Most bytes of the boxes of one request, with their heads: 64 boxes with a report, and two with
the largest item besides."""

EXIT_REQUEST_MAX = BOXES_SIZE + 8
"""Most bytes of a request to an exit."""

ENTRY_REQUEST_MAX = BOXES_SIZE + EXIT_ID_SIZE + 16
"""Most bytes of a request to an entry."""

BOX_ANSWER_SIZE = 128 + 48
"""Bytes of every answer to a box with an item or with nothing: 128, the nonce and the tag."""

ANSWER_MAX = 1_048_576 + 48
"""Most bytes of one answer: the descriptors that an exit knows."""

ANSWERS_SIZE = 2 * 1_048_576
"""Most bytes of the answers of one reply, with their heads. An exit whose answers would need more
asks for patience in those that come last."""

REPLY_MAX = ANSWERS_SIZE + 64
"""Most bytes of a reply."""

DESCRIPTORS_COUNT = 128
"""Most descriptors in one reply: more relays than an app needs to choose from."""

DESCRIPTORS_SIZE = 1_048_576 - 4096
"""Most bytes of a reply with descriptors, so that it fits one answer of an exit, too."""

AGAIN_MAX = 86_400
"""Most seconds of a hint when to come back. A relay that names more would keep apps away."""

_HEAD = 5
"""Most bytes of the CBOR head of a byte string, up to 4 GiB."""


class EntryRequest(NamedTuple):
    """What an entry is asked: to hand `boxes` to the relay whose id is `exit` (32 bytes)."""

    exit: bytes
    boxes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class DoorReply:
    """What an exit or an entry replies.

    `answers`: one for each box, in order, empty for a box that did not open; or none at all.
    `again`: seconds after which to come back. It is not None if there are no answers.
    """

    answers: tuple[bytes, ...] = ()
    again: int | None = None


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The descriptors that a relay knows, as signed bytes that are not checked yet. `time`: the
    relay's clock (unix seconds), by which the asker can notice that its own clock is wrong."""

    time: int
    raws: tuple[bytes, ...]


def encode_exit_request(boxes: Sequence[bytes]) -> bytes:
    """Encode the request of `/methrics/exit/1`. Raises ValueError unless there are 1 to
    `BOXES_MAX` boxes of at most `BOXES_SIZE` bytes together."""
    return encode(_checked(boxes))


def decode_exit_request(data: bytes) -> tuple[bytes, ...]:
    """Decode the request of `/methrics/exit/1`; return its boxes, which stay sealed."""
    return _boxes(decode(data, limit=EXIT_REQUEST_MAX))


def encode_entry_request(exit_id: bytes, boxes: Sequence[bytes]) -> bytes:
    """Encode the request of `/methrics/entry/1`. Raises ValueError unless the id has 32 bytes and
    there are 1 to `BOXES_MAX` boxes of at most `BOXES_SIZE` bytes together."""
    if len(exit_id) != EXIT_ID_SIZE:
        raise ValueError(f"the id of an exit has {EXIT_ID_SIZE} bytes")
    return encode([exit_id, _checked(boxes)])


def decode_entry_request(data: bytes) -> EntryRequest:
    """Decode the request of `/methrics/entry/1`."""
    value = decode(data, limit=ENTRY_REQUEST_MAX)
    if not isinstance(value, list) or len(value) != 2:
        raise _malformed("a request to an entry is an exit and boxes")
    exit_id, boxes = value
    if not isinstance(exit_id, bytes) or len(exit_id) != EXIT_ID_SIZE:
        raise _malformed(f"the id of an exit has {EXIT_ID_SIZE} bytes")
    return EntryRequest(exit_id, _boxes(boxes))


def split_boxes(boxes: Sequence[bytes]) -> list[list[bytes]]:
    """Distribute the boxes, in order, over requests that keep the limits."""
    requests: list[list[bytes]] = []
    size = BOXES_SIZE
    for box in boxes:
        size += len(box) + _HEAD
        if not requests or size > BOXES_SIZE or len(requests[-1]) == BOXES_MAX:
            requests.append([])
            size = len(box) + _HEAD
        requests[-1].append(box)
    return requests


def encode_reply(reply: DoorReply) -> bytes:
    """Encode the reply of `/methrics/exit/1` and `/methrics/entry/1`. Raises ValueError if the
    answers have more than `ANSWERS_SIZE` bytes together, or there are neither answers nor a
    hint."""
    if not reply.answers and reply.again is None:
        raise ValueError("a reply without answers says when to come back")
    if size_of(reply.answers) > ANSWERS_SIZE or len(reply.answers) > BOXES_MAX:
        raise ValueError(f"a reply has at most {BOXES_MAX} answers of {ANSWERS_SIZE} bytes")
    fields: dict[str, object] = {"answers": list(reply.answers)}
    return encode(fields if reply.again is None else fields | {"again": reply.again})


def decode_reply(data: bytes, *, boxes: int) -> DoorReply:
    """Decode the reply to a request that had `boxes` boxes."""
    value = decode(data, limit=REPLY_MAX)
    if not isinstance(value, dict) or value.keys() - {"again"} != {"answers"}:
        raise _malformed("a reply has answers")
    answers, again = value["answers"], _again(value)
    if not isinstance(answers, list) or len(answers) not in (0, boxes):
        raise _malformed("a reply holds one answer for each box, or none")
    if not answers and again is None:
        raise _malformed("a reply without answers says when to come back")
    found = tuple(one for one in answers if isinstance(one, bytes))
    if len(found) != len(answers) or any(len(one) > ANSWER_MAX for one in found):
        raise _malformed(f"an answer is a byte string of at most {ANSWER_MAX} bytes")
    if size_of(found) > ANSWERS_SIZE:
        raise RefusedError(Reason.OVERSIZE, f"answers have at most {ANSWERS_SIZE} bytes together")
    return DoorReply(found, again)


def encode_descriptors(descriptors: Descriptors) -> bytes:
    """Encode the reply of `/methrics/descriptors/1`. Raises ValueError if there are too many
    descriptors (see `fitting`)."""
    if len(fitting(descriptors.raws)) != len(descriptors.raws):
        raise ValueError("the descriptors do not fit one reply")
    return encode({"time": descriptors.time, "descriptors": list(descriptors.raws)})


def decode_descriptors(data: bytes) -> Descriptors:
    """Decode the reply of `/methrics/descriptors/1`. The descriptors themselves are not checked."""
    value = decode(data, limit=DESCRIPTORS_SIZE)
    if not isinstance(value, dict) or value.keys() != {"time", "descriptors"}:
        raise _malformed("a reply with descriptors has time and descriptors")
    time, raws = value["time"], value["descriptors"]
    if type(time) is not int or time < 0:
        raise _malformed("time is whole seconds")
    if not isinstance(raws, list) or len(raws) > DESCRIPTORS_COUNT:
        raise _malformed(f"descriptors is an array of at most {DESCRIPTORS_COUNT}")
    found = tuple(one for one in raws if isinstance(one, bytes))
    if len(found) != len(raws):
        raise _malformed("a descriptor is a byte string")
    if len(fitting(found)) != len(found):
        raise RefusedError(Reason.OVERSIZE, f"at most {DESCRIPTORS_SIZE} bytes of descriptors")
    return Descriptors(time, found)


def fitting(raws: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the first descriptors that fit one reply, as many as do."""
    return tuple(_fitting(raws[:DESCRIPTORS_COUNT]))


def _fitting(raws: Sequence[bytes]) -> Iterator[bytes]:
    size = 64
    for raw in raws:
        size += len(raw) + _HEAD
        if size > DESCRIPTORS_SIZE:
            return
        yield raw


def size_of(parts: Sequence[bytes]) -> int:
    """Return the most bytes that byte strings need in an array, with their CBOR heads."""
    return sum(len(one) + _HEAD for one in parts)


def _checked(boxes: Sequence[bytes]) -> list[bytes]:
    if not 1 <= len(boxes) <= BOXES_MAX:
        raise ValueError(f"a request holds 1 to {BOXES_MAX} boxes, not {len(boxes)}")
    if size_of(boxes) > BOXES_SIZE or any(len(box) > BOX_MAX for box in boxes):
        raise ValueError(f"boxes of one request have at most {BOXES_SIZE} bytes together")
    return list(boxes)


def _boxes(value: Value) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= BOXES_MAX:
        raise _malformed(f"a request has 1 to {BOXES_MAX} boxes")
    boxes = tuple(box for box in value if isinstance(box, bytes))
    if len(boxes) != len(value):
        raise _malformed("a box is a byte string")
    if any(len(box) > BOX_MAX for box in boxes) or size_of(boxes) > BOXES_SIZE:
        raise RefusedError(Reason.OVERSIZE, "a box is larger than any item needs")
    return boxes


def _again(value: Mapping[str, Value]) -> int | None:
    """Return the hint in a reply, at most `AGAIN_MAX`, or None."""
    if "again" not in value:
        return None
    again = value["again"]
    if type(again) is not int or again < 0:
        raise _malformed("again is whole seconds")
    return min(again, AGAIN_MAX)


def _malformed(message: str) -> RefusedError:
    return RefusedError(Reason.MALFORMED, message)
