"""The published vectors of visits, against this implementation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from request_vectors import V1, octets

from methrics.node.relay.visits import (
    decode_visit_reply,
    decode_visit_request,
    encode_visit_reply,
    encode_visit_request,
    handle_of,
)
from methrics.schema.errors import RefusedError

VECTORS = {path.stem: json.loads(path.read_text()) for path in (V1 / "visits").glob("*.json")}
REQUESTS = sorted(name for name, given in VECTORS.items() if "request" in given)
REPLIES = sorted(name for name, given in VECTORS.items() if "reply" in given)


def read_request(raw: bytes) -> dict[str, Any]:
    found = decode_visit_request(raw)
    assert encode_visit_request(found) == raw
    return {
        "exits": [one.exit.hex() for one in found.boxes],
        "handles": [handle_of(one.box).hex() for one in found.boxes],
        "asked": [one.hex() for one in found.asked],
    }


def read_reply(raw: bytes) -> dict[str, Any]:
    found = decode_visit_reply(raw)
    assert decode_visit_reply(encode_visit_reply(found)) == found
    return {"answers": list(found.answers), "time": found.time, "again": found.again}


def test_every_vector_is_a_request_or_a_reply() -> None:
    assert len(REQUESTS) > 20
    assert len(REPLIES) > 20
    assert sorted([*REQUESTS, *REPLIES]) == sorted(VECTORS)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_visit_is_read_as_the_vector_says(name: str) -> None:
    given = VECTORS[name]
    expect, raw = dict(given["expect"]), octets(given["request"])
    if expect.pop("result") == "ok":
        assert read_request(raw) == expect
        return
    with pytest.raises(RefusedError) as caught:
        decode_visit_request(raw)
    assert caught.value.code == given["expect"]["result"]


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_to_a_visit_is_read_as_the_vector_says(name: str) -> None:
    given = VECTORS[name]
    expect, raw = dict(given["expect"]), octets(given["reply"])
    if expect.pop("result") == "ok":
        expect["answers"] = [octets(one) for one in expect["answers"]]
        assert read_reply(raw) == expect
        return
    with pytest.raises(RefusedError) as caught:
        decode_visit_reply(raw)
    assert caught.value.code == given["expect"]["result"]
