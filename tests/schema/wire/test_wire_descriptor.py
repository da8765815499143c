"""Descriptors of relays: what is read is what was signed, and every bound holds."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vectors
from methrics.schema.errors import RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.judge import judge
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import pack_notice
from methrics.schema.wire.codec import decode, encode
from methrics.schema.wire.descriptor import (
    Descriptor,
    SignedDescriptor,
    contradicts,
    decode_descriptor,
    encode_descriptor,
    read_descriptor,
    sign_descriptor,
)
from methrics.schema.wire.envelope import DOMAIN, Kind, public_key, seal
from methrics.schema.wire.limits import DAY, DESCRIPTOR_MAX, EARLY_MAX, ITEM_MAX, TIME_MAX
from methrics.schema.wire.verdict import Decision, Reason

SEED, OTHER = b"a" * 32, b"b" * 32
TODAY = 20_000
BASE = Descriptor(
    day=TODAY,
    roles=("entry", "exit"),
    addresses=("/ip4/192.0.2.1/tcp/4001", "https://relay.example.org"),
    keys=(b"k" * 41,),
    topics=("/methrics/1/a-aaaaaaaaaaaaaaaa/cbor", "/methrics/1/b-aaaaaaaaaaaaaaaa/cbor"),
    operator="Example e.V.",
    load=12,
)
seeds = st.binary(min_size=32, max_size=32)
letters = st.characters(
    min_codepoint=32, max_codepoint=0x4FF, exclude_characters="".join(map(chr, range(127, 160)))
)
words = st.text(letters, min_size=1, max_size=20)


@st.composite
def descriptors(draw: st.DrawFn) -> Descriptor:
    is_exit = draw(st.booleans())
    address = st.builds(str.__add__, st.sampled_from(["/", "https://"]), words)
    topics = draw(st.lists(words, max_size=20, unique=True))
    return Descriptor(
        day=draw(st.integers(0, TIME_MAX // DAY - 2)),
        roles=("exit",) if is_exit and draw(st.booleans()) else ("entry", "exit")[: 1 + is_exit],
        addresses=tuple(draw(st.lists(address, min_size=1, max_size=8))),
        keys=tuple(draw(st.lists(st.binary(min_size=1, max_size=255), min_size=1, max_size=2)))
        if is_exit
        else (),
        topics=tuple(sorted(topics, key=str.encode)),
        operator=draw(st.none() | words),
        load=draw(st.none() | st.integers(0, 100)),
    )


@given(descriptors(), seeds)
def test_descriptors_survive(descriptor: Descriptor, seed: bytes) -> None:
    payload = encode_descriptor(descriptor)
    assert decode_descriptor(payload) == descriptor
    signed = sign_descriptor(descriptor, seed)
    assert read_descriptor(signed.item.raw) == signed
    assert signed.relay == public_key(seed)
    assert signed.about == (public_key(seed), descriptor.day)


@given(
    st.binary(max_size=300)
    | st.dictionaries(
        st.sampled_from(sorted(decode(encode_descriptor(BASE), limit=ITEM_MAX))),  # type: ignore[arg-type]
        st.integers(-5, 2**64 - 1)
        | st.booleans()
        | st.text(max_size=5)
        | st.lists(st.binary(max_size=3) | words, max_size=3),
    ).map(encode)
)
def test_any_payload_is_read_or_refused(payload: bytes) -> None:
    with suppress(RefusedError):
        assert encode_descriptor(decode_descriptor(payload)) == payload


def test_keys_of_later_versions_are_passed_over() -> None:
    body = decode(encode_descriptor(BASE), limit=ITEM_MAX)
    assert isinstance(body, dict)
    assert decode_descriptor(encode(body | {"later": [1, {"two": b""}]})) == BASE


@pytest.mark.parametrize(
    "change",
    [
        {"day": TODAY + 1},
        {"day": -1, "expires": DAY},
        {"day": 2_932_895, "expires": 2_932_897 * DAY},
        {"day": True, "expires": 3 * DAY},
        {"expires": (TODAY + 2) * DAY + 1},
        {"roles": []},
        {"roles": ["exit", "entry"]},
        {"roles": ["exit", "exit"]},
        {"roles": ["guard"]},
        {"roles": "exit"},
        {"roles": ["entry"]},
        {"addresses": []},
        {"addresses": ["/a"] * 9},
        {"addresses": ["http://example.org"]},
        {"addresses": ["/" + 200 * "a"]},
        {"addresses": ["/a\n"]},
        {"addresses": [b"/a"]},
        {"keys": []},
        {"keys": [b""]},
        {"keys": [bytes(256)]},
        {"keys": [b"k"] * 3},
        {"keys": ["k"]},
        {"topics": ["b", "a"]},
        {"topics": ["a", "a"]},
        {"topics": [""]},
        {"topics": [129 * "a"]},
        {"topics": [f"{one:03}" for one in range(257)]},
        {"operator": ""},
        {"operator": 65 * "a"},
        {"operator": "a\u202e"},
        {"load": 101},
        {"load": -1},
        {"load": True},
    ],
    ids=str,
)
def test_a_descriptor_of_another_shape_is_malformed(change: dict[str, object]) -> None:
    body = decode(encode_descriptor(BASE), limit=ITEM_MAX)
    assert isinstance(body, dict)
    assert refused(seal(Kind.DESCRIPTOR, encode(body | change), SEED)) == Reason.MALFORMED


@pytest.mark.parametrize("missing", ["day", "expires", "roles", "addresses", "keys", "topics"])
def test_a_descriptor_without_a_key_that_it_must_have_is_malformed(missing: str) -> None:
    body = decode(encode_descriptor(BASE), limit=ITEM_MAX)
    assert isinstance(body, dict)
    body.pop(missing)
    assert refused(seal(Kind.DESCRIPTOR, encode(body), SEED)) == Reason.MALFORMED


def refused(raw: bytes, now: int | None = None) -> str:
    with pytest.raises(RefusedError) as caught:
        read_descriptor(raw, now)
    return caught.value.code


def test_a_descriptor_is_read_from_a_day_before_it_begins_until_a_day_after_its_end() -> None:
    raw = sign_descriptor(BASE, SEED).item.raw
    first, last = (TODAY - 1) * DAY - EARLY_MAX, (TODAY + 2) * DAY - 1
    for now in (first, last):
        assert read_descriptor(raw, now).descriptor == BASE
    assert refused(raw, first - 1) == Reason.EARLY
    assert refused(raw, last + 1) == Reason.EXPIRED


def test_a_descriptor_larger_than_its_limit_is_neither_made_nor_read() -> None:
    long = replace(BASE, topics=tuple(f"{one:0128}" for one in range(256)))
    with pytest.raises(ValueError, match="bytes"):
        sign_descriptor(long, SEED)
    raw = sign_descriptor(replace(BASE, topics=long.topics[:100]), SEED).item.raw
    assert len(raw) < DESCRIPTOR_MAX


@pytest.mark.parametrize(
    "path", sorted((vectors.FOLDER / "descriptors").glob("*.json")), ids=lambda path: path.stem
)
def test_a_vector_of_a_descriptor_is_read_as_expected(path: Any) -> None:
    given = json.loads(path.read_text())
    raw, expect = bytes.fromhex(given["bytes"]), given["expect"]
    if expect["result"] != "ok":
        assert refused(raw, given["now"]) == expect["result"]
        return
    signed = read_descriptor(raw, given["now"])
    found = signed.descriptor
    assert (signed.item.id.hex(), signed.relay.hex()) == (expect["id"], expect["relay"])
    assert [one.hex() for one in found.keys] == expect["keys"]
    for name in ("roles", "addresses", "topics"):
        assert list(getattr(found, name)) == expect[name]
    for name in ("day", "expires", "operator", "load"):
        assert getattr(found, name) == expect.get(name)


def test_attack_two_descriptors_of_one_day_prove_an_equivocation() -> None:
    one = sign_descriptor(BASE, SEED)
    assert contradicts(one, sign_descriptor(replace(BASE, keys=(b"l" * 41,)), SEED))
    other_day = replace(BASE, day=TODAY + 1)
    for other in (one, sign_descriptor(BASE, OTHER), sign_descriptor(other_day, SEED)):
        assert not contradicts(one, other)


@pytest.mark.parametrize("topic", [None, "/methrics/1/a-aaaaaaaaaaaaaaaa/cbor"])
def test_attack_a_descriptor_on_the_topic_of_an_app_is_of_an_unknown_kind(
    topic: str | None,
) -> None:
    raw, book = sign_descriptor(BASE, SEED).item.raw, CatalogBook()
    for live in (True, False):
        assert judge(raw, book, 0, live=live, topic=topic).reason is Reason.UNKNOWN_KIND
        notice = judge_bundle(pack_notice(raw), book, 0, Seen(), live=live, topic=topic)
        assert (notice.decision, notice.reason) == (Decision.IGNORE, Reason.UNKNOWN_KIND)


def test_attack_a_descriptor_signed_by_another_is_forged() -> None:
    raw = sign_descriptor(BASE, SEED).item.raw
    assert refused(raw.replace(public_key(SEED), public_key(OTHER))) == Reason.FORGED


def test_attack_a_signature_of_another_domain_is_forged() -> None:
    signed: SignedDescriptor = sign_descriptor(BASE, SEED)
    there = signed.item.signed.replace(DOMAIN, b"methrics/2")
    from nacl.signing import SigningKey

    signature = SigningKey(SEED).sign(there).signature
    assert refused(signed.item.raw[:-64] + signature) == Reason.FORGED


def test_attack_no_other_kind_of_item_passes_for_a_descriptor() -> None:
    payload = encode_descriptor(BASE)
    for kind in Kind:
        if kind is not Kind.DESCRIPTOR:
            assert refused(seal(kind, payload, SEED)) in (Reason.MALFORMED, Reason.OVERSIZE)
