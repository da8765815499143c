"""Items: one layout, one id per content, libsodium's rules for keys and signatures."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256, sha512

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_reduce,
    crypto_scalarmult_ed25519_base_noclamp,
    crypto_scalarmult_ed25519_noclamp,
)
from vector_world import World, malleable, protected, sign_by_hand

from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import (
    CONTENT_TYPE,
    DOMAIN,
    SIZE_MAX,
    Kind,
    inner_hash,
    public_key,
    report_id,
    seal,
    sign_item,
    split,
    verify,
    zero_bits,
)
from methrics.schema.wire.limits import ENVELOPE_SIZE, ITEM_MAX, STAMP_SIZE
from methrics.schema.wire.verdict import Reason

SEED = bytes(range(32))
seeds = st.binary(min_size=32, max_size=32)

SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
"""The eight points of small order, then non-canonical encodings of some of them."""


def refusal(raw: bytes) -> Reason:
    with pytest.raises(RefusedError) as caught:
        verify(split(raw))
    return Reason(caught.value.code)


@given(st.sampled_from(Kind), st.binary(max_size=700), seeds)
@example(Kind.REPORT, b"", SEED)
@example(Kind.REPORT, b"x" * 24, SEED)
@example(Kind.CATALOG, b"x" * 255, SEED)
@example(Kind.CATALOG, b"x" * 256, SEED)
@example(Kind.CATALOG, b"x" * 65_000, SEED)
def test_a_sealed_item_splits_and_verifies(kind: Kind, payload: bytes, seed: bytes) -> None:
    item = split(raw := seal(kind, payload, seed))
    verify(item)
    assert (item.kind, item.payload, item.key) == (kind, payload, public_key(seed))
    assert (item.raw, item.signature, item.work) == (raw, raw[-64:], None)
    head_size = len(cbor2.dumps(payload)) - len(payload)
    assert len(raw) == ENVELOPE_SIZE + head_size + len(payload)


@given(st.binary(max_size=700), seeds)
def test_an_item_is_cose_as_rfc_9052_has_it(payload: bytes, seed: bytes) -> None:
    raw = seal(Kind.REPORT, payload, seed)
    header = {1: -8, 3: CONTENT_TYPE + 1, 4: public_key(seed)}
    encoded = cbor2.dumps(header)
    signed = cbor2.dumps(["Signature1", encoded, DOMAIN, payload])
    assert cbor2.loads(raw) == [encoded, {}, payload, raw[-64:]]
    assert cbor2.dumps(cbor2.loads(raw)) == raw
    inner = sha256(raw[-64:] + payload).digest()
    item = split(raw)
    assert (item.signed, inner_hash(item)) == (signed, inner)
    assert item.id == report_id(item.key, inner) == sha256(item.key + inner).digest()


@given(st.sampled_from([kind for kind in Kind if kind is not Kind.REPORT]), st.binary(max_size=99))
def test_the_id_of_an_item_that_is_no_report_is_the_hash_of_what_is_signed(
    kind: Kind, payload: bytes
) -> None:
    item = split(seal(kind, payload, SEED))
    assert item.id == sha256(item.signed).digest()


@given(st.binary(max_size=300))
@example(bytes.fromhex("84582aa301270319fde9045820"))
@example(bytes.fromhex("84582aa301270319fde9045820") + bytes(32) + b"\xa0\x58")
@example(bytes.fromhex("8458ffa401270319fde9045820") + bytes(300))
def test_any_bytes_split_or_are_refused(data: bytes) -> None:
    try:
        item = split(data)
    except RefusedError:
        assert refusal(data) in (Reason.MALFORMED, Reason.UNKNOWN_KIND)
    else:
        assert item.raw == data


@given(st.data())
def test_a_changed_item_never_verifies(data: st.DataObject) -> None:
    bits = data.draw(st.sampled_from([0, 2]))
    raw = seal(Kind.REPORT, b"payload", SEED, work_bits=bits)
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes([data.draw(st.integers(0, 255))]) + raw[at + 1 :]
    if changed != raw:
        assert refusal(changed).decision.name in ("REJECT", "IGNORE")


@given(st.integers(0, 10))
def test_a_work_stamp_is_part_of_the_signed_header(bits: int) -> None:
    raw = seal(Kind.REPORT, b"stamped", SEED, work_bits=bits)
    item = split(raw)
    verify(item)
    assert (item.work is None) == (bits == 0)
    assert zero_bits(sha256(item.signed).digest()) >= bits
    assert cbor2.loads(cbor2.loads(raw)[0]).get("work") == item.work
    assert len(raw) <= ENVELOPE_SIZE + STAMP_SIZE + 1 + len(b"stamped")


@pytest.mark.parametrize("work", [0, 23, 24, 255, 256, 2**32, 2**64 - 1])
def test_stamps_of_every_length_are_read(work: int) -> None:
    header = b"\xa4" + protected()[1:] + b"\x64work" + cbor2.dumps(work)
    item = split(sign_by_hand(header, b"x"))
    verify(item)
    assert item.work == work


@pytest.mark.parametrize(
    "stamp", ["", "20", "1801", "190017", "1bff", "4100", "f5", "c24101", "0000"]
)
def test_a_stamp_that_is_no_shortest_integer_is_refused(stamp: str) -> None:
    header = b"\xa4" + protected()[1:] + b"\x64work" + bytes.fromhex(stamp)
    assert refusal(sign_by_hand(header, b"x")) is Reason.MALFORMED


@given(st.integers(0, 2**256 - 1))
def test_zero_bits_are_counted_from_the_front(number: int) -> None:
    text = f"{number:0256b}"
    assert zero_bits(number.to_bytes(32, "big")) == len(text) - len(text.lstrip("0"))


def test_a_malleable_signature_is_forged(world: World) -> None:
    assert refusal(malleable(world.report())) is Reason.FORGED


@pytest.mark.parametrize("key", SMALL_ORDER)
@pytest.mark.parametrize("point", SMALL_ORDER[:4])
def test_a_small_order_key_signs_nothing(key: str, point: str) -> None:
    """If R and A have small order and S = 0, lenient verifiers accept an eighth or all messages."""
    for n in range(8):
        raw = sign_by_hand(protected(key=bytes.fromhex(key)), b"%d" % n)
        assert refusal(raw[:-64] + bytes.fromhex(point) + bytes(32)) is Reason.BAD_KEY


def test_every_key_that_is_called_bad_is_unusable() -> None:
    assert not any(crypto_core_ed25519_is_valid_point(bytes.fromhex(key)) for key in SMALL_ORDER)


@pytest.mark.parametrize("domain", [b"", b"methrics/2", b"methrics/1\x00", b"methrics/10"])
def test_a_signature_for_another_domain_is_forged(domain: bytes) -> None:
    assert refusal(sign_by_hand(protected(), b"x", domain=domain)) is Reason.FORGED


def test_a_signature_does_not_move_between_kinds_keys_or_payloads() -> None:
    one = seal(Kind.REPORT, b"one", SEED)
    for other in (
        seal(Kind.ERASURE, b"one", SEED),
        seal(Kind.REPORT, b"two", SEED),
        seal(Kind.REPORT, b"one", bytes(32)),
        seal(Kind.REPORT, b"one", SEED, work_bits=1),
    ):
        assert refusal(other[:-64] + one[-64:]) is Reason.FORGED


def test_signing_again_gives_the_same_id_and_bytes() -> None:
    assert seal(Kind.REPORT, b"x", SEED) == seal(Kind.REPORT, b"x", SEED)


@pytest.mark.parametrize("kind", Kind)
def test_an_item_larger_than_its_kind_allows_is_neither_made_nor_read(kind: Kind) -> None:
    room = SIZE_MAX[kind] - ENVELOPE_SIZE - (5 if SIZE_MAX[kind] > 65_536 else 3)
    assert len(seal(kind, bytes(room), SEED)) == SIZE_MAX[kind]
    with pytest.raises(ValueError, match="at most"):
        seal(kind, bytes(room + 1), SEED)
    assert refusal(sign_by_hand(protected(kind), bytes(room + 1))) is Reason.OVERSIZE


def test_an_oversize_item_is_refused_without_parsing() -> None:
    assert refusal(b"\x84" * (ITEM_MAX + 1)) is Reason.OVERSIZE


@pytest.mark.parametrize("kind", [0, 8, 9, 10, 11, 535])
def test_a_kind_from_the_future_is_unknown(kind: int) -> None:
    assert refusal(sign_by_hand(protected(kind), b"x")) is Reason.UNKNOWN_KIND


@pytest.mark.parametrize("content_type", [0, 23, 60, 255, 256, 64_999])
def test_a_foreign_content_type_is_malformed(content_type: int) -> None:
    header = protected().replace(b"\x19\xfd\xe9", cbor2.dumps(content_type))
    assert refusal(sign_by_hand(header, b"x")) is Reason.MALFORMED


def test_importing_envelopes_does_not_load_libsodium() -> None:
    code = "import sys, methrics.schema.wire.envelope; sys.exit('nacl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_signature_whose_r_has_small_order_is_forged() -> None:
    """R = identity and S = h * a satisfy the equation; only the check of R's order refuses them."""
    key, digest = public_key(SEED), bytearray(sha512(SEED).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    point = bytes.fromhex(SMALL_ORDER[0])
    raw = sign_by_hand(protected(key=key), b"x")
    challenge = crypto_core_ed25519_scalar_reduce(sha512(point + key + split(raw).signed).digest())
    secret = crypto_core_ed25519_scalar_reduce(bytes(digest) + bytes(32))
    scalar = crypto_core_ed25519_scalar_mul(challenge, secret)
    multiple = crypto_scalarmult_ed25519_noclamp(challenge, key)
    assert crypto_scalarmult_ed25519_base_noclamp(scalar) == multiple
    assert refusal(raw[:-64] + point + scalar) is Reason.FORGED


@given(st.sampled_from(list(Kind)), st.binary(max_size=200), st.binary(min_size=32, max_size=32))
def test_split_gives_the_signed_payload(kind: Kind, payload: bytes, seed: bytes) -> None:
    item = sign_item(kind, payload, seed)
    assert item == split(item.raw)
    assert item.raw == seal(kind, payload, seed)


def test_split_gives_the_payload_and_nonce_of_a_stamped_item() -> None:
    item = sign_item(Kind.REPORT, b"stamped", SEED, work_bits=5)
    assert item == split(item.raw)
    assert item.work is not None
    assert zero_bits(sha256(item.signed).digest()) >= 5
