"""Encodes and decodes a visit: what an app hands to its entry, and what the entry replies (pure).

    ; /methrics/visit/1
    visit-request = [[16*16 [exit, box]], [32*32 handle]]
    exit = bstr .size 32            ; the key of the exit's peer id
    box = bstr .size 1335           ; sealed for that exit (SPEC.md, section 16)
    handle = bstr .size 32          ; the SHA-256 of a box
    visit-reply = { "answers": [32*32 bstr .size 176], "time": uint, ? "again": uint }

All requests have one size, and so have all replies that take the boxes, whatever is due and
whatever has been answered: an app fills up with empty boxes and with random handles, and an entry
that does not have the answer to a box, or not yet, gives 176 zero bytes in its place. `again`: the
entry took none of the boxes; seconds after which to come back. Everything is CBOR in the
deterministic form of SPEC.md. For other bytes, the decoders raise RefusedError `oversize` or
`malformed`, in bounded time and memory. The HTTP doors carry the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from methrics.node.ohttp.inner import BOX_SIZE
from methrics.node.relay.doors import AGAIN_MAX, BOX_ANSWER_SIZE, EXIT_ID_SIZE
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import Value, decode, encode
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.verdict import Reason

VISIT = "/methrics/visit/1"

VISIT_BOXES = 16
"""Boxes in each visit. With a visit every eight hours, an app sends up to 48 reports a day."""

VISIT_ASKED = 32
"""Handles in each visit: those of its own boxes, and of as many earlier ones."""

HANDLE_SIZE = 32
"""Bytes of a handle."""

NO_ANSWER = bytes(BOX_ANSWER_SIZE)
"""Stands for an answer that the entry does not have, or not yet."""

REQUEST_SIZE = (
    1
    + 1
    + VISIT_BOXES * (1 + 2 + EXIT_ID_SIZE + 3 + BOX_SIZE)
    + 2
    + VISIT_ASKED * (2 + HANDLE_SIZE)
)
"""Bytes of each request."""

REPLY_MAX = 6300
"""Most bytes of a reply: the answers, with a time and a hint of eight bytes each."""


class VisitBox(NamedTuple):
    """A sealed box, and the id of the exit that can open it (32 bytes)."""

    exit: bytes
    box: bytes


@dataclass(frozen=True, slots=True)
class VisitRequest:
    """What an app asks of its entry: to bring `boxes` to their exits, and for the answers to the
    boxes whose handles are `asked`."""

    boxes: tuple[VisitBox, ...]
    asked: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class VisitReply:
    """What an entry replies.

    `answers`: for each handle, in order, the answer of the exit (176 bytes), or b"" if there is
    none yet. `time`: the entry's clock (Unix seconds). `again`: None if it took the boxes, else the
    seconds after which to come back.
    """

    answers: tuple[bytes, ...]
    time: int
    again: int | None = None


def handle_of(box: bytes) -> bytes:
    """Return the handle of a box (32 bytes). Two boxes never have the same one, because each is
    sealed with a key of its own."""
    return hashlib.sha256(box).digest()


def encode_visit_request(request: VisitRequest) -> bytes:
    """Encode a request. Raises ValueError unless it has `VISIT_BOXES` boxes of `BOX_SIZE` bytes and
    `VISIT_ASKED` handles."""
    sizes = {(len(one.exit), len(one.box)) for one in request.boxes}
    if len(request.boxes) != VISIT_BOXES or sizes != {(EXIT_ID_SIZE, BOX_SIZE)}:
        raise ValueError(f"a visit has {VISIT_BOXES} boxes of {BOX_SIZE} bytes")
    if len(request.asked) != VISIT_ASKED or {len(one) for one in request.asked} != {HANDLE_SIZE}:
        raise ValueError(f"a visit asks for {VISIT_ASKED} handles of {HANDLE_SIZE} bytes")
    return encode([[list(one) for one in request.boxes], list(request.asked)])


def decode_visit_request(data: bytes) -> VisitRequest:
    """Decode a request. Its boxes stay sealed."""
    value = decode(data, limit=REQUEST_SIZE)
    if not isinstance(value, list) or len(value) != 2:
        raise _malformed("a visit has boxes and handles")
    boxes, asked = value
    if not isinstance(boxes, list) or len(boxes) != VISIT_BOXES:
        raise _malformed(f"a visit has {VISIT_BOXES} boxes")
    return VisitRequest(
        tuple(map(_box, boxes)), _strings(asked, VISIT_ASKED, HANDLE_SIZE, "a handle")
    )


def encode_visit_reply(reply: VisitReply) -> bytes:
    """Encode a reply; b"" in the place of an answer becomes `NO_ANSWER`. Raises ValueError unless
    there is an answer, or b"", for each handle."""
    answers = [one or NO_ANSWER for one in reply.answers]
    if len(answers) != VISIT_ASKED or {len(one) for one in answers} != {BOX_ANSWER_SIZE}:
        raise ValueError(f"a reply has {VISIT_ASKED} answers of {BOX_ANSWER_SIZE} bytes")
    fields: dict[str, object] = {"answers": answers, "time": reply.time}
    return encode(fields if reply.again is None else fields | {"again": reply.again})


def decode_visit_reply(data: bytes) -> VisitReply:
    """Decode a reply. A hint of more than `AGAIN_MAX` is taken for `AGAIN_MAX`."""
    value = decode(data, limit=REPLY_MAX)
    if not isinstance(value, dict) or value.keys() - {"again"} != {"answers", "time"}:
        raise _malformed("a reply to a visit has answers and time")
    answers = _strings(value["answers"], VISIT_ASKED, BOX_ANSWER_SIZE, "an answer")
    again = _seconds(value["again"], "again") if "again" in value else None
    return VisitReply(
        tuple(b"" if one == NO_ANSWER else one for one in answers),
        _seconds(value["time"], "time"),
        None if again is None else min(again, AGAIN_MAX),
    )


def _box(value: Value) -> VisitBox:
    if not isinstance(value, list) or len(value) != 2:
        raise _malformed("each box comes with its exit")
    exit_id, box = value
    if not isinstance(exit_id, bytes) or len(exit_id) != EXIT_ID_SIZE:
        raise _malformed(f"the id of an exit has {EXIT_ID_SIZE} bytes")
    if not isinstance(box, bytes) or len(box) != BOX_SIZE:
        raise _malformed(f"a box of a visit has {BOX_SIZE} bytes")
    return VisitBox(exit_id, box)


def _strings(value: Value, count: int, size: int, name: str) -> tuple[bytes, ...]:
    """Return the byte strings in an array that has to hold `count` of `size` bytes."""
    if not isinstance(value, list) or len(value) != count:
        raise _malformed(f"{name}: there are {count} of them")
    found = tuple(one for one in value if isinstance(one, bytes) and len(one) == size)
    if len(found) != count:
        raise _malformed(f"{name} has {size} bytes")
    return found


def _seconds(value: Value, name: str) -> int:
    if type(value) is not int or not 0 <= value <= TIME_MAX:
        raise _malformed(f"{name} is whole seconds")
    return value


def _malformed(message: str) -> RefusedError:
    return RefusedError(Reason.MALFORMED, message)
