"""What travels in a box: a question to an exit, and its answer, each of a fixed size (pure).

A question is `POST https://methrics.invalid/1/<resource>` as Binary HTTP, padded to a multiple of
`STEP` bytes. Every report, erasure and empty box has one step, so their boxes are equal in size. An
answer is a response 200 whose content is

    { "answer": reason, "time": uint, ? "again": uint, ? "items": [+ bstr] }

in the CBOR of SPEC.md. Answers to boxes have `ANSWER_SIZE` bytes, whatever they say.

Each question and each answer has one encoding. Every other one is refused, such as a question with
header fields, by which an exit could recognise a program.
"""

from __future__ import annotations

from dataclasses import dataclass

from methrics.node.ohttp.binary_http import (
    Request,
    Response,
    decode_response,
    encode_request,
    encode_response,
)
from methrics.node.ohttp.envelope import BOX_OVERHEAD
from methrics.node.ohttp.reading import Reader, malformed, prefixed
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import Value, decode, encode
from methrics.schema.wire.limits import ITEM_MAX
from methrics.schema.wire.verdict import Reason

BOX, RECORDS, DESCRIPTORS = "/1/box", "/1/records", "/1/descriptors"
"""The resources of an exit. Their contents: one item, or nothing in an empty box; a topic in UTF-8;
nothing."""

AUTHORITY = b"methrics.invalid"
STEP = 1280
"""A question is padded to a multiple of this many bytes: more than the largest report needs."""

QUESTION_MAX = (ITEM_MAX // STEP + 1) * STEP
"""Most bytes of a question: 66,560, of which the largest item leaves more than the rest needs."""

BOX_SIZE = STEP + BOX_OVERHEAD
"""Bytes of the box of a report, of an erasure, and of an empty box: 1,335."""

BOX_MAX = QUESTION_MAX + BOX_OVERHEAD
"""Most bytes of a box: 66,615."""

ANSWER_SIZE = 128
"""Bytes of the answer to a box, before it is sealed."""

ANSWER_STEP, ANSWER_DOUBLINGS = 4096, 8
"""Other answers are padded to `ANSWER_STEP` bytes, doubled as often as they need, at most so
often: 1 MiB."""

AGAIN_MAX = 86_400
"""Most seconds of a hint when to come back."""

_HEADS = {
    resource: encode_request(Request(b"POST", b"https", AUTHORITY, resource.encode()))[:-2]
    for resource in (BOX, RECORDS, DESCRIPTORS)
}
"""What a question to each resource begins with: everything before the content and the trailers."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a node asks of an exit: one of the resources, and its content."""

    resource: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What an exit answers. `time`: its clock, Unix seconds. `again`: seconds after which to come
    back, if it is full. `items`: the exact bytes of the records or descriptors asked for."""

    reason: Reason
    time: int
    again: int | None = None
    items: tuple[bytes, ...] = ()


def encode_question(resource: str, content: bytes) -> bytes:
    """Encode a question, padded. Raises RefusedError `oversize` if the content is larger than any
    item."""
    if len(content) > ITEM_MAX:
        raise RefusedError(Reason.OVERSIZE, f"the content has at most {ITEM_MAX} bytes")
    bare = _HEADS[resource] + prefixed(content)
    size = len(bare) + 1  # no trailers
    return bare.ljust(-(-size // STEP) * STEP, b"\x00")


def decode_question(message: bytes) -> Question:
    """Decode a question.

    Raises RefusedError `oversize` or `malformed` for all bytes that `encode_question` does not
    write."""
    if len(message) > QUESTION_MAX:
        raise RefusedError(Reason.OVERSIZE, f"a question has at most {QUESTION_MAX} bytes")
    if not message or len(message) % STEP:
        raise malformed(f"the length of a question is a multiple of {STEP}")
    # All questions to one resource begin alike, so an exit need not parse them as HTTP.
    for resource, head in _HEADS.items():
        if message.startswith(head):
            content = Reader(message, len(head)).prefixed()
            if encode_question(resource, content) == message:
                return Question(resource, content)
    raise malformed("not the one encoding of a question to an exit")


def encode_answer(answer: Answer, *, box: bool) -> bytes:
    """Encode an answer; `box`: whether it answers a box, so that it has `ANSWER_SIZE` bytes.

    Raises ValueError if it is too large."""
    fields: dict[str, object] = {"answer": str(answer.reason), "time": answer.time}
    if answer.again is not None:
        fields["again"] = answer.again
    if answer.items:
        fields["items"] = list(answer.items)
    response = Response(200, (), encode(fields))
    if box:
        return encode_response(response, ANSWER_SIZE)
    bare = encode_response(response)
    for doubled in range(ANSWER_DOUBLINGS + 1):
        if len(bare) <= ANSWER_STEP << doubled:
            return bare.ljust(ANSWER_STEP << doubled, b"\x00")
    raise ValueError("the answer is too large")


def decode_answer(message: bytes, *, box: bool | None = None) -> Answer:
    """Decode an answer. A hint of more than `AGAIN_MAX` is taken for `AGAIN_MAX`.

    `box`: whether it has to be the answer to a box, or one to another question; None: it may be
    either. Raises RefusedError `oversize` or `malformed` for all bytes that `encode_answer` does
    not write.
    """
    if len(message) > ANSWER_STEP << ANSWER_DOUBLINGS:
        raise RefusedError(Reason.OVERSIZE, "the answer is too large")
    content = decode_response(message).content
    answer = _read_answer(decode(content, limit=len(content)))
    small = len(message) == ANSWER_SIZE
    other = box is not None and box != small
    if other or (small and answer.items) or encode_answer(answer, box=small) != message:
        raise malformed("not the one encoding of an exit's answer")
    again = None if answer.again is None else min(answer.again, AGAIN_MAX)
    return Answer(answer.reason, answer.time, again, answer.items)


def _read_answer(value: Value) -> Answer:
    if not isinstance(value, dict) or value.keys() - {"again", "items"} != {"answer", "time"}:
        raise malformed("an answer has answer and time")
    time, again, items = value["time"], value.get("again"), value.get("items", [])
    if type(time) is not int or time < 0:
        raise malformed("time is whole seconds")
    if again is not None and (type(again) is not int or again < 0):
        raise malformed("again is whole seconds")
    if not isinstance(items, list):
        raise malformed("items is an array")
    raws = tuple(one for one in items if isinstance(one, bytes))
    if len(raws) != len(items):
        raise malformed("an item is a byte string")
    try:
        reason = Reason(str(value["answer"]))
    except ValueError as error:
        raise malformed("the answer is a reason code") from error
    return Answer(reason, time, again, raws)
