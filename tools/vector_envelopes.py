"""Envelopes: key configurations, boxes for an exit, and the exit's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vector_world import NOW, Scenario, World, seed

from methrics.node.ohttp.binary_http import (
    Request,
    Response,
    encode_request,
    encode_response,
)
from methrics.node.ohttp.envelope import HEAD_SIZE, open_box, seal
from methrics.node.ohttp.hpke import derive_secret
from methrics.node.ohttp.inner import (
    ANSWER_SIZE,
    ANSWER_STEP,
    AUTHORITY,
    BOX,
    DESCRIPTORS,
    RECORDS,
    STEP,
    Answer,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
)
from methrics.node.ohttp.key_config import (
    ExitKey,
    KeyConfig,
    decode_key_configs,
    encode_key_config,
    encode_key_configs,
)
from methrics.node.ohttp.reading import prefixed
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import encode
from methrics.schema.wire.verdict import Reason

KEY = ExitKey.from_seed(7, seed("exit"))
NEXT = ExitKey.from_seed(8, seed("next exit"))
EPHEMERAL = derive_secret(seed("ephemeral"))
NONCE = seed("answer nonce")


def envelopes(w: World) -> Iterator[Scenario]:
    """All vectors of envelopes: (name, what it is, what is given and expected)."""
    found = [*_keys(), *_good_boxes(w), *_bad_boxes(w), *_good_answers(), *_bad_answers()]
    for name, says, given in found:
        kind = name.partition("-")[0]
        yield name, says, given | {"expect": _expected(_READ[kind], given)}


def _expected(
    read: Callable[[dict[str, object]], dict[str, object]], given: dict[str, object]
) -> dict[str, object]:
    try:
        return {"result": "ok", **read(given)}
    except RefusedError as error:
        return {"result": error.code}


def _read_keys(given: dict[str, object]) -> dict[str, object]:
    found = decode_key_configs(given["keys"])  # type: ignore[arg-type]
    names = ("key_id", "public")
    return {
        "configs": [
            {name: getattr(one, name) for name in names}
            | {"algorithms": [list(pair) for pair in one.suites]}
            for one in found
        ]
    }


def _read_box(given: dict[str, object]) -> dict[str, object]:
    opened = open_box(given["box"], {KEY.key_id: KEY, NEXT.key_id: NEXT})  # type: ignore[arg-type]
    question = decode_question(opened.message)
    return {"resource": question.resource, "content": question.content}


def _read_answer(given: dict[str, object]) -> dict[str, object]:
    message = encode_question(str(given["resource"]), given["content"])  # type: ignore[arg-type]
    sealed = seal(KEY.config, message, ephemeral=EPHEMERAL)
    response = sealed.open(given["answer"])  # type: ignore[arg-type]
    answer = decode_answer(response, box=given["resource"] == BOX)
    return {
        "answer": str(answer.reason),
        "time": answer.time,
        "again": answer.again,
        "items": list(answer.items),
    }


_READ = {"keys": _read_keys, "box": _read_box, "answer": _read_answer}


def _keys() -> Iterator[Scenario]:
    one = encode_key_configs([KEY.config])
    other = KeyConfig(1, KEY.public, suites=((1, 1), (1, 3), (2, 2)))
    foreign = b"\x01\x00\x10" + bytes(65) + b"\x00\x04\x00\x01\x00\x03"
    passed_over = len(foreign).to_bytes(2, "big") + foreign
    bare = encode_key_config(KEY.config)

    def document(config: bytes) -> bytes:
        return len(config).to_bytes(2, "big") + config

    for name, says, data in (
        ("ok-one", "one key configuration", one),
        ("ok-two", "two key configurations", encode_key_configs([KEY.config, NEXT.config])),
        ("ok-algorithms", "three pairs of algorithms", encode_key_configs([other])),
        ("ok-other-kem", "one of another KEM, which is passed over", passed_over + one),
        ("ok-none", "a document of no bytes", b""),
        ("cut", "a document that is cut short", one[:-1]),
        ("more", "a byte behind the document", one + b"\x00"),
        ("inner-more", "a byte behind the algorithms", document(bare + b"\x00")),
        ("no-algorithms", "no pair of algorithms", document(bare[:35] + b"\x00\x00")),
        ("half-a-pair", "half a pair of algorithms", document(bare[:35] + b"\x00\x02\x00\x01")),
        ("17", "17 configurations, more than are read", one * 17),
    ):
        yield f"keys-{name}", says, {"keys": data}


def _sealed(message: bytes, key: ExitKey = KEY) -> dict[str, object]:
    return {
        "exits": [[one.key_id, one.secret] for one in (KEY, NEXT)],
        "box": seal(key.config, message, ephemeral=EPHEMERAL).box,
    }


def _good_boxes(w: World) -> Iterator[Scenario]:
    for name, says, resource, content in (
        ("report", "a report", BOX, w.report()),
        ("erasure", "an erasure, of the same size", BOX, w.erasure()),
        ("empty", "an empty box, of the same size", BOX, b""),
        ("1240", "1,240 bytes, the longest content of one step", BOX, b"\x80" * 1240),
        ("1241", "1,241 bytes, the shortest content of two steps", BOX, b"\x80" * 1241),
        ("records", "a question for the records of a topic", RECORDS, w.topic.encode()),
        ("descriptors", "a question for descriptors", DESCRIPTORS, b""),
    ):
        given = _sealed(encode_question(resource, content))
        yield f"box-ok-{name}", says, {"ephemeral": EPHEMERAL, **given}
    given = _sealed(encode_question(BOX, b""), NEXT)
    yield "box-ok-next", "an empty box for the next key", {"ephemeral": EPHEMERAL, **given}


def _bad_boxes(w: World) -> Iterator[Scenario]:
    good = encode_question(BOX, w.report())
    box = _sealed(good)["box"]
    assert isinstance(box, bytes)
    for name, says, raw in (
        ("key-id", "a box for a key id that the exit does not have", b"\x09" + box[1:]),
        ("kem", "a box of another KEM", box[:1] + b"\x00\x10" + box[3:]),
        ("aead", "a box of AES-128-GCM", box[:5] + b"\x00\x01" + box[HEAD_SIZE:]),
        ("swapped", "a box with the id of another key of the exit", b"\x08" + box[1:]),
        ("tag", "a box with one bit of its tag changed", box[:-1] + bytes([box[-1] ^ 1])),
        ("small-order", "an ephemeral key of small order", box[:7] + bytes(32) + box[39:]),
        ("short", "a box of 54 bytes", box[:54]),
        ("none", "a box of no bytes", b""),
    ):
        yield f"box-{name}", says, _sealed(good) | {"box": raw}
    report = w.report()
    ours = Request(b"POST", b"https", AUTHORITY, b"/1/box", (), report)
    head = encode_request(Request(b"POST", b"https", AUTHORITY, b"/1/box"))[:-2]
    long_length = head + b"\x80\x00" + len(report).to_bytes(2, "big") + report
    chunked = b"\x02" + head[1:] + prefixed(report) + b"\x00"
    fields = ((b"user-agent", b"example"),)
    for name, says, message in (
        ("unpadded", "a question without padding", encode_request(ours)),
        ("padding-long", "1,280 bytes of padding more than needed", good + bytes(STEP)),
        ("padding-other", "padding with a byte other than 0", good[:-1] + b"\x01"),
        ("get", "another method", _request(Request(b"GET", *_target(ours)[1:]))),
        ("authority", "another authority", _request(_with(ours, authority=b"example.org"))),
        ("resource", "an unknown resource", _request(_with(ours, path=b"/2/box"))),
        ("header", "a header field", _request(_with(ours, headers=fields))),
        ("trailer", "a trailer field", _request(_with(ours, trailers=fields))),
        ("length", "a length in four bytes where two are enough", _padded(long_length)),
        ("indeterminate", "a question of indeterminate length", _padded(chunked)),
        ("cut", "content that is cut short", head + prefixed(bytes(1300))[: STEP - len(head)]),
        ("not-http", "a report alone, padded", report.ljust(STEP, b"\x00")),
    ):
        yield f"box-{name}", says, _sealed(message)


def _target(request: Request) -> tuple[bytes, bytes, bytes, bytes]:
    return request.method, request.scheme, request.authority, request.path


def _with(request: Request, **change: object) -> Request:
    names = ("method", "scheme", "authority", "path", "headers", "content", "trailers")
    return Request(**({name: getattr(request, name) for name in names} | change))  # type: ignore[arg-type]


def _request(request: Request) -> bytes:
    return _padded(encode_request(request))


def _padded(message: bytes) -> bytes:
    return message.ljust(-(-len(message) // STEP) * STEP, b"\x00")


def _answered(response: bytes, resource: str = BOX) -> dict[str, object]:
    """The answer to a question without content that was sealed with the ephemeral key."""
    box = seal(KEY.config, encode_question(resource, b""), ephemeral=EPHEMERAL).box
    answer = open_box(box, {KEY.key_id: KEY}).seal(response, NONCE)
    return {
        "config": encode_key_config(KEY.config),
        "ephemeral": EPHEMERAL,
        "resource": resource,
        "content": b"",
        "answer": answer,
    }


def _good_answers() -> Iterator[Scenario]:
    item = b"record".ljust(5000, b"\x80")
    for name, says, answer, resource in (
        ("ok", "the exit has the item", Answer(Reason.OK, NOW), BOX),
        ("off-schema", "a refusal, of the same size", Answer(Reason.OFF_SCHEMA, NOW), BOX),
        ("again", "a full exit, of the same size", Answer(Reason.QUOTA, NOW, 600), BOX),
        ("day", "a hint of more than a day", Answer(Reason.QUOTA, NOW, 86_401), BOX),
        ("records-none", "no records", Answer(Reason.OK, NOW), RECORDS),
        ("records", "two records", Answer(Reason.OK, NOW, items=(b"one", b"two")), RECORDS),
        ("records-8192", "more than 4,096 bytes", Answer(Reason.OK, NOW, items=(item,)), RECORDS),
    ):
        response = encode_answer(answer, box=resource == BOX)
        yield f"answer-ok-{name}", says, _answered(response, resource)


def _bad_answers() -> Iterator[Scenario]:
    good = encode_answer(Answer(Reason.OK, NOW), box=True)
    fields: dict[str, object] = {"answer": "ok", "time": NOW}
    for name, says, response in (
        ("127", "a response of 127 bytes", good[:-1]),
        ("padding-other", "padding with a byte other than 0", good[:-1] + b"\x01"),
        (
            "4096",
            "an answer to a box of 4,096 bytes",
            encode_answer(Answer(Reason.OK, NOW), box=False),
        ),
        ("129", "a response of 129 bytes", good + b"\x00"),
        ("status", "another status", _response(fields, status=500)),
        ("header", "a header field", _response(fields, headers=((b"server", b"example"),))),
        ("reason", "an answer that is not a reason code", _response(fields | {"answer": "fine"})),
        ("key", "an unknown key", _response(fields | {"peers": []})),
        ("no-time", "no time", _response({"answer": "ok"})),
        ("again", "a hint of -1", _response(fields | {"again": -1})),
        ("items-none", "an empty array of items", _response(fields | {"items": []})),
        ("items", "items in the answer to a box", _response(fields | {"items": [b"one"]})),
        ("not-http", "CBOR alone, padded", encode(fields).ljust(ANSWER_SIZE, b"\x00")),
    ):
        yield f"answer-{name}", says, _answered(response)
    small = "an answer to another question of 128 bytes"
    yield "answer-128", small, _answered(good, RECORDS)
    twice = good.ljust(2 * ANSWER_STEP, b"\x00")
    yield "answer-8192", "twice the size that is needed", _answered(twice, RECORDS)
    answer = _answered(good)["answer"]
    assert isinstance(answer, bytes)
    for name, says, raw in (
        ("nonce", "one bit of the nonce changed", bytes([answer[0] ^ 1]) + answer[1:]),
        ("tag", "one bit of the tag changed", answer[:-1] + bytes([answer[-1] ^ 1])),
        ("short", "an answer of 47 bytes", answer[:47]),
        ("none", "an answer of no bytes: the exit could not open the box", b""),
    ):
        yield f"answer-{name}", says, _answered(good) | {"answer": raw}


def _response(
    fields: dict[str, object],
    status: int = 200,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    return encode_response(Response(status, headers, encode(fields)), ANSWER_SIZE)
