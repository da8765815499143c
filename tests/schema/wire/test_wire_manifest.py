"""Manifests of aggregators: what is read is what was signed, and every bound holds."""

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
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import DOMAIN, Kind, public_key, seal
from methrics.schema.wire.limits import COUNTED_MAX, DAY, TIME_MAX
from methrics.schema.wire.manifest import (
    Manifest,
    SignedManifest,
    contradicts,
    decode_manifest,
    encode_manifest,
    erasures_digest,
    read_manifest,
    reports_digest,
    sign_manifest,
    supersedes,
)
from methrics.schema.wire.shard import Shard, shards_of
from methrics.schema.wire.verdict import Decision, Reason

SEED, OTHER = b"a" * 32, b"b" * 32
BASE = Manifest(
    namespace=b"n" * 32,
    day=20_000,
    as_of=20_003 * DAY,
    closed=True,
    count=7,
    digest=b"d" * 32,
    erasures=2,
    erasures_digest=b"e" * 32,
    late=1,
)
ids = st.binary(min_size=32, max_size=32)
counts = st.integers(0, COUNTED_MAX)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    day = draw(st.integers(0, TIME_MAX // DAY - 1))
    closed, count = draw(st.booleans()), draw(counts)
    return Manifest(
        namespace=draw(ids),
        day=day,
        as_of=draw(st.integers((day + 1) * DAY if closed else 0, TIME_MAX)),
        closed=closed,
        count=count,
        digest=draw(ids),
        erasures=draw(counts),
        erasures_digest=draw(ids),
        late=draw(st.integers(0, count)) if closed else 0,
        record=draw(st.none() | ids),
    )


@given(manifests(), ids)
def test_manifests_survive(manifest: Manifest, seed: bytes) -> None:
    payload = encode_manifest(manifest)
    assert decode_manifest(payload) == manifest
    signed = sign_manifest(manifest, seed)
    assert read_manifest(signed.item.raw) == signed
    assert signed.item.key == public_key(seed)
    assert 0 <= manifest.coverage <= 1


@given(
    st.binary(max_size=300)
    | st.dictionaries(
        st.sampled_from(sorted(decode_manifest.__globals__["_KEYS"])),
        ids | st.integers(-5, 2**64 - 1) | st.booleans() | st.text(max_size=5),
    ).map(encode)
)
def test_any_payload_is_read_or_refused(payload: bytes) -> None:
    with suppress(RefusedError):
        assert encode_manifest(decode_manifest(payload)) == payload


@pytest.mark.parametrize(
    "path", sorted((vectors.FOLDER / "manifests").glob("*.json")), ids=lambda path: path.stem
)
def test_a_vector_of_a_manifest_is_read_as_expected(path: Any) -> None:
    given = json.loads(path.read_text())
    raw, expect = bytes.fromhex(given["bytes"]), given["expect"]
    if expect["result"] != "ok":
        assert refused(raw, given["now"]) == expect["result"]
        return
    item, found = read_manifest(raw, given["now"])
    assert (item.id.hex(), item.key.hex()) == (expect["id"], expect["signer"])
    assert found.namespace.hex() == expect["namespace"]
    for name in ("day", "as_of", "closed", "count", "late", "erasures"):
        assert getattr(found, name) == expect[name]


def refused(raw: bytes, now: int | None = None) -> str:
    with pytest.raises(RefusedError) as caught:
        read_manifest(raw, now)
    return caught.value.code


def test_attack_a_manifest_on_a_topic_or_in_a_box_is_rejected() -> None:
    raw = sign_manifest(BASE, SEED).item.raw
    book = CatalogBook()
    for live in (True, False):
        assert judge(raw, book, 0, live=live).reason is Reason.MALFORMED
        notice = judge_bundle(pack_notice(raw), book, 0, Seen(), live=live)
        assert (notice.decision, notice.reason) == (Decision.REJECT, Reason.MALFORMED)


def test_attack_a_manifest_signed_by_another_is_forged() -> None:
    raw = sign_manifest(BASE, SEED).item.raw
    pretended = raw.replace(public_key(SEED), public_key(OTHER))
    assert refused(pretended) == Reason.FORGED


def test_attack_a_signature_of_another_domain_is_forged() -> None:
    signed = sign_manifest(BASE, SEED)
    there = signed.item.signed.replace(DOMAIN, b"methrics/2")
    from nacl.signing import SigningKey

    signature = SigningKey(SEED).sign(there).signature
    assert refused(signed.item.raw[:-64] + signature) == Reason.FORGED


def test_attack_no_other_kind_of_item_passes_for_a_manifest() -> None:
    payload = encode_manifest(BASE)
    for kind in Kind:
        if kind is not Kind.MANIFEST:
            assert refused(seal(kind, payload, SEED)) == Reason.MALFORMED


def test_attack_a_manifest_of_the_future_cannot_rule_out_later_ones() -> None:
    raw = sign_manifest(replace(BASE, as_of=TIME_MAX), SEED).item.raw
    assert refused(raw, BASE.as_of) == Reason.EARLY


def test_attack_an_older_or_open_manifest_never_supersedes() -> None:
    newest = sign_manifest(BASE, SEED)
    older = sign_manifest(replace(BASE, as_of=BASE.as_of - 1, count=9), SEED)
    open_ = sign_manifest(replace(BASE, as_of=BASE.as_of + 9, closed=False, late=0), SEED)
    for one in (older, open_, newest):
        assert not supersedes(one, newest)
    assert supersedes(newest, older)
    assert supersedes(newest, open_)


def test_attack_nobody_supersedes_the_manifest_of_another_or_of_another_day() -> None:
    newest = sign_manifest(BASE, SEED)
    later = replace(BASE, as_of=BASE.as_of + 1)
    assert supersedes(sign_manifest(later, SEED), newest)
    changes: list[SignedManifest] = [
        sign_manifest(later, OTHER),
        sign_manifest(replace(later, day=BASE.day - 1), SEED),
        sign_manifest(replace(later, namespace=b"m" * 32), SEED),
    ]
    assert not any(supersedes(one, newest) for one in changes)


def test_attack_two_closed_manifests_of_one_moment_contradict_each_other() -> None:
    one = sign_manifest(BASE, SEED)
    other = sign_manifest(replace(BASE, digest=b"x" * 32), SEED)
    assert contradicts(one, other)
    assert contradicts(other, one)
    assert not contradicts(one, one)
    assert not contradicts(one, sign_manifest(replace(BASE, as_of=BASE.as_of + 1), SEED))
    assert not contradicts(one, sign_manifest(replace(BASE, digest=b"x" * 32), OTHER))


@given(st.lists(ids, max_size=5, unique=True), st.integers(0, 2**20), ids)
def test_a_digest_tells_reports_erasures_days_and_namespaces_apart(
    found: list[bytes], day: int, key: bytes
) -> None:
    found.sort()
    count, digest = reports_digest(key, day, [b"".join(found)])
    assert (count, digest) == reports_digest(key, day, found)
    assert count == len(found)
    others = {
        erasures_digest(key, day, found)[1],
        reports_digest(key, day + 1, found)[1],
        reports_digest(key[::-1] + b"", day, [*found, b"z" * 32])[1],
    }
    assert digest not in others


@given(manifests(), st.sampled_from([one for count in (2, 4, 16) for one in shards_of(count)]))
def test_the_manifest_of_a_shard_says_so(made: Manifest, shard: Shard) -> None:
    own = replace(made, shard=shard)
    assert decode_manifest(encode_manifest(own)) == own
    assert encode_manifest(own) != encode_manifest(made)
