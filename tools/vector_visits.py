"""Visits: requests to an entry, and its replies, read or refused with a reason.

Expected results are written here, not computed by the code under test; tests compare the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256

from vector_world import NOW, Scenario

from methrics.schema.wire.codec import encode

RUN = re.compile(rb"(.)\1{31,}", re.DOTALL)
"""The same byte, 32 times or more."""

BOXES, ASKED = 16, 32
BOX, HANDLE, ANSWER = 1335, 32, 176
"""Bytes of each."""

Pair = list[bytes]


def visits() -> Iterator[Scenario]:
    """Requests and replies by themselves, with what a reader gets from them."""
    for name, says, body in _good_requests():
        yield f"ok-request-{name}", says, {"request": spans(encode(body)), "expect": _got(*body)}
    for result, name, says, raw in _bad_requests():
        expect = {"result": result}
        yield f"{result}-request-{name}", says, {"request": spans(raw), "expect": expect}
    for name, says, body in _good_replies():
        yield f"ok-reply-{name}", says, {"reply": spans(encode(body)), "expect": _told(body)}
    for result, name, says, raw in _bad_replies():
        yield f"{result}-reply-{name}", says, {"reply": spans(raw), "expect": {"result": result}}


def spans(data: bytes) -> list[object]:
    """Return bytes as a file writes long ones: [hex digits, how often, hex digits, ...]."""
    found: list[object] = []
    end = 0
    for run in RUN.finditer(data):
        if run.start() > end:
            found += [data[end : run.start()].hex(), 1]
        found += [run[1].hex(), len(run[0])]
        end = run.end()
    return [*found, data[end:].hex(), 1] if end < len(data) else found


def _pairs() -> list[Pair]:
    return [[bytes([0x10 + n]) * 32, bytes([0x80 + n]) * BOX] for n in range(BOXES)]


def _handles(boxes: list[Pair]) -> list[bytes]:
    """The handles of the boxes, then those of earlier ones, and random ones."""
    own = [sha256(box).digest() for _, box in boxes]
    return own + [sha256(b"%d" % n).digest() for n in range(ASKED - len(own))]


def _got(boxes: list[Pair], asked: list[bytes]) -> dict[str, object]:
    return {
        "result": "ok",
        "exits": [exit_id for exit_id, _ in boxes],
        "handles": [sha256(box).digest() for _, box in boxes],
        "asked": asked,
    }


def _good_requests() -> Iterator[tuple[str, str, tuple[list[Pair], list[bytes]]]]:
    pairs = _pairs()
    handles = _handles(pairs)
    yield "own", "a visit that asks for its own boxes, and for others", (pairs, handles)
    yield "order", "handles and boxes in another order", (pairs[::-1], sorted(handles))
    one = [[pairs[0][0], box] for _, box in pairs]
    yield "one-exit", "all boxes for one exit", (one, handles)
    yield (
        "twice",
        "the same box and the same handle in all places",
        (pairs[:1] * BOXES, [*handles[:1] * ASKED]),
    )


def _bad_requests() -> Iterator[tuple[str, str, str, bytes]]:
    pairs = _pairs()
    handles = _handles(pairs)
    good = encode([pairs, handles])
    for name, says, body in (
        ("boxes-15", "fifteen boxes", [pairs[1:], handles]),
        ("boxes-none", "no boxes", [[], handles]),
        (
            "box-short",
            "a box of 1,334 bytes",
            [_changed(pairs, [bytes(32), bytes(BOX - 1)]), handles],
        ),
        ("box-alone", "a box without an exit", [_changed(pairs, [bytes(BOX)]), handles]),
        ("box-bare", "a box that is in no array", [_changed(pairs, bytes(BOX)), handles]),
        ("exit-short", "an exit of 31 bytes", [_changed(pairs, [bytes(31), bytes(BOX)]), handles]),
        ("exit-text", "an exit as text", [_changed(pairs, ["e" * 32, bytes(BOX)]), handles]),
        ("handles-31", "31 handles", [pairs, handles[1:]]),
        ("handles-none", "no handles", [pairs, []]),
        ("handle-short", "a handle of 31 bytes", [pairs, [bytes(31), *handles[1:]]]),
        ("handle-text", "a handle as text", [pairs, ["h" * 32, *handles[1:]]]),
        ("alone", "boxes without handles", [pairs]),
        ("map", "a map in place of an array", {"boxes": [], "asked": []}),
        ("number", "a number", 7),
    ):
        yield "malformed", name, says, encode(body)
    yield "malformed", "cut-short", "the last byte is missing", good[:-1]
    yield "malformed", "empty", "no bytes", b""
    yield "oversize", "trailing-byte", "a byte behind the value", good + b"\x00"
    yield "oversize", "boxes-17", "seventeen boxes", encode([[*pairs, pairs[0]], handles])
    yield "oversize", "handles-33", "33 handles", encode([pairs, [*handles, bytes(32)]])
    long = _changed(pairs, [bytes(32), bytes(BOX + 1)])
    yield "oversize", "box-long", "a box of 1,336 bytes", encode([long, handles])


def _changed(pairs: list[Pair], one: object) -> list[object]:
    """The boxes with another one in the first place."""
    return [one, *pairs[1:]]


Reply = dict[str, object]


def _answers(*places: int) -> list[bytes]:
    """Answers in these places, and none in all others."""
    return [bytes([0x40 + n] if n in places else 1) * ANSWER for n in range(ASKED)]


def _told(body: Reply) -> dict[str, object]:
    answers, again = body["answers"], body.get("again")
    assert isinstance(answers, list)
    told = [spans(one) if any(one) else "" for one in answers]
    limit = min(again, 86_400) if isinstance(again, int) else None
    return {"result": "ok", "answers": told, "time": body["time"], "again": limit}


def _good_replies() -> Iterator[tuple[str, str, Reply]]:
    none, some, all_ = _answers(), _answers(0, 5, 31), _answers(*range(ASKED))
    yield "none", "no answer yet", {"answers": none, "time": NOW}
    yield "some", "answers to three boxes", {"answers": some, "time": NOW}
    yield "all", "an answer for each handle", {"answers": all_, "time": NOW}
    yield "again", "no box was taken", {"answers": some, "time": NOW, "again": 600}
    yield "again-now", "no box was taken, and no wait", {"answers": none, "time": NOW, "again": 0}
    late = {"answers": none, "time": NOW, "again": 10**9}
    yield "again-long", "a wait that a reader cuts to a day", late
    yield "time-none", "the clock at 1970", {"answers": none, "time": 0}
    yield "time-last", "the clock at its last second", {"answers": none, "time": 253_402_300_799}


def _bad_replies() -> Iterator[tuple[str, str, str, bytes]]:
    answers = _answers(3)
    good = encode({"answers": answers, "time": NOW})
    for name, says, body in (
        ("answers-31", "31 answers", {"answers": answers[1:], "time": NOW}),
        ("answers-none", "an array without answers", {"answers": [], "time": NOW}),
        ("answers-missing", "no array of answers", {"time": NOW}),
        (
            "answer-short",
            "an answer of 175 bytes",
            {"answers": [bytes(175), *answers[1:]], "time": NOW},
        ),
        ("answer-empty", "an answer without bytes", {"answers": [b"", *answers[1:]], "time": NOW}),
        ("answer-text", "an answer as text", {"answers": ["a" * 176, *answers[1:]], "time": NOW}),
        ("time-missing", "no time", {"answers": answers}),
        ("time-flag", "true in place of a time", {"answers": answers, "time": True}),
        ("time-negative", "a time before 1970", {"answers": answers, "time": -1}),
        ("time-late", "a time after 9999", {"answers": answers, "time": 253_402_300_800}),
        ("again-flag", "true in place of a wait", {"answers": answers, "time": NOW, "again": True}),
        ("again-negative", "a wait below 0", {"answers": answers, "time": NOW, "again": -1}),
        ("key", "a key that is not known", {"answers": answers, "time": NOW, "mood": 1}),
        ("array", "an array in place of a map", [answers, NOW]),
    ):
        yield "malformed", name, says, encode(body)
    yield "malformed", "trailing-byte", "a byte behind the value", good + b"\x00"
    yield "malformed", "cut-short", "the last byte is missing", good[:-1]
    yield "malformed", "empty", "no bytes", b""
    yield "oversize", "large", "a reply of 6,301 bytes", bytes(6301)
