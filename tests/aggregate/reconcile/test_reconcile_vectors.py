"""The published vectors of reconciliation, and any bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methrics.aggregate.reconcile.fingerprint import IdIndex
from methrics.aggregate.reconcile.item_set import set_digest
from methrics.aggregate.reconcile.wire import (
    REQUEST_MAX,
    DaySum,
    PeerFault,
    SessionEnded,
    Which,
    busy_seconds,
    decode_request,
    encode_busy,
    encode_parts,
    encode_request,
    encode_same,
    read_ids,
    read_items,
    read_opened,
    read_parts,
)
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import decode, encode
from methrics.schema.wire.manifest import erasures_digest, reports_digest
from methrics.schema.wire.verdict import Reason

FOLDER = Path(__file__).parents[3] / "schema" / "vectors" / "v1" / "reconcile"


def vectors(kind: str) -> list[Any]:
    paths = sorted(FOLDER.glob(f"{kind}-*.json"))
    assert paths
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in paths]


@pytest.mark.parametrize("vector", vectors("parts"))
def test_parts_are_those_of_the_vector(vector: dict[str, Any]) -> None:
    index = IdIndex(bytes.fromhex("".join(vector["ids"])))
    parts = index.parts(vector["prefix"], bytes.fromhex(vector["salt"]))
    sent = encode_parts([parts])
    assert decode(sent, limit=1000) == ["parts", [bytes.fromhex(vector["parts"])]]
    assert read_parts(sent, 1) == [parts]


@pytest.mark.parametrize("vector", vectors("digest"))
def test_digest_of_a_set_is_that_of_the_vector(vector: dict[str, Any]) -> None:
    days = [
        DaySum(one["day"], one["count"], bytes.fromhex(one["digest"])) for one in vector["days"]
    ]
    found = set_digest(bytes.fromhex(vector["namespace"]), Which(vector["set"]), days)
    assert found.hex() == vector["digest"]


@pytest.mark.parametrize("vector", vectors("day"))
def test_digest_of_a_day_is_that_of_the_vector(vector: dict[str, Any]) -> None:
    digest = reports_digest if vector["set"] == Which.REPORTS else erasures_digest
    ids = IdIndex(bytes.fromhex("".join(vector["ids"]))).data
    found = digest(bytes.fromhex(vector["namespace"]), vector["day"], [ids])
    assert found == (len(vector["ids"]), bytes.fromhex(vector["digest"]))


READERS: dict[str, Callable[[bytes], object]] = {
    "open": read_opened,
    "split": lambda reply: read_parts(reply, 2),
    "list": lambda reply: read_ids(reply, 2),
    "all": read_items,
}


@pytest.mark.parametrize("vector", vectors("reply"))
def test_replies_are_read_or_a_fault_of_the_peer(vector: dict[str, Any]) -> None:
    read, data = READERS[vector["to"]], bytes.fromhex(vector["reply"])
    if not vector["ok"]:
        with pytest.raises(PeerFault):
            read(data)
    elif data.startswith((b"\x82\x64busy", b"\x83\x65shard")):
        with pytest.raises(SessionEnded):
            read(data)
    else:
        read(data)


@pytest.mark.parametrize("vector", vectors("request"))
def test_requests_are_read_or_refused(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["request"])
    if vector["ok"]:
        assert encode_request(decode_request(data)) == data
    else:
        with pytest.raises(RefusedError) as caught:
            decode_request(data)
        assert caught.value.code == Reason.MALFORMED


def test_a_request_over_the_limit_is_not_read() -> None:
    with pytest.raises(RefusedError) as caught:
        decode_request(bytes(REQUEST_MAX + 1))
    assert caught.value.code == Reason.OVERSIZE


VALUES = st.recursive(
    st.integers(-(1 << 63), (1 << 64) - 1) | st.binary(max_size=200) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["open", "split", "list", "fetch", "all", "same", "busy", "opened", "parts", "ids", "items"]
)
MESSAGES = st.binary(max_size=80) | st.tuples(NAMES, st.lists(VALUES, max_size=6)).map(
    lambda one: encode([one[0], *one[1]])
)


@settings(max_examples=60, deadline=None)
@given(MESSAGES)
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    try:
        request = decode_request(data)
    except RefusedError:
        return
    assert encode_request(request) == data


@settings(max_examples=60, deadline=None)
@given(MESSAGES)
def test_any_reply_is_read_or_a_fault_of_the_peer(data: bytes) -> None:
    for read in (
        read_opened,
        read_items,
        lambda reply: read_parts(reply, 1),
        lambda reply: read_ids(reply, 1),
    ):
        try:
            read(data)  # type: ignore[operator]
        except (PeerFault, SessionEnded):
            continue
    assert 0 <= busy_seconds(data) <= 3600


def test_a_wait_is_told_from_other_replies() -> None:
    assert busy_seconds(encode_busy(17)) == 17
    assert busy_seconds(encode_busy(1 << 40)) == 3600
    assert busy_seconds(encode_busy(0)) == 0
    assert busy_seconds(encode_same()) == 0
    assert busy_seconds(encode(["busy", "x"])) == 0
