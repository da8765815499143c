"""HPKE: the vectors of RFC 9180 A.1.1 and A.2.1 (base mode, X25519), and two other libraries."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from aes_cipher import AES_128_GCM
from cryptography.hazmat.primitives import hpke as theirs
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey

from methrics.node.ohttp import hpke
from methrics.node.ohttp.hpke import CHACHA, Cipher
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

INFO = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
TEXT = bytes.fromhex("4265617574792069732074727574682c20747275746820626561757479")
SECRET = bytes(range(32))
PUBLIC = hpke.public_of(SECRET)
SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]
_PYHPKE = CipherSuite.new(
    KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305
)
_PYCA = theirs.Suite(theirs.KEM.X25519, theirs.KDF.HKDF_SHA256, theirs.AEAD.CHACHA20_POLY1305)


class Published(NamedTuple):
    """One vector of the RFC, in hexadecimal: the seeds of both key pairs, the ciphertext with the
    associated data "Count-0", and what is exported for three contexts."""

    cipher: Cipher
    seed_sender: str
    seed_receiver: str
    enc: str
    public: str
    sealed: str
    exported: tuple[str, str, str]


A1 = Published(
    AES_128_GCM,
    "7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234",
    "6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037",
    "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
    "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d",
    "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
    (
        "3853fe2b4035195a573ffc53856e77058e15d9ea064de3e59f4961d0095250ee",
        "2e8f0b54673c7029649d4eb9d5e33bf1872cf76d623ff164ac185da9e88c21a5",
        "e9e43065102c3836401bed8c3c3c75ae46be1639869391d62c61f1ec7af54931",
    ),
)
A2 = Published(
    CHACHA,
    "909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b",
    "1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df",
    "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
    "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a",
    "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
    (
        "4bbd6243b8bb54cec311fac9df81841b6fd61f56538a775e7c80a9f40160606e",
        "8c1df14732580e5501b00f82b10a1647b40713191b7c1240ac80e2b68808ba69",
        "5acb09211139c43b3090489a9da433e8a30ee7188ba8b0a9a1ccf0c229283e53",
    ),
)


@pytest.mark.parametrize("published", [A1, A2], ids=["A.1.1", "A.2.1"])
def test_the_vectors_of_rfc_9180_hold(published: Published) -> None:
    ephemeral = hpke.derive_secret(bytes.fromhex(published.seed_sender))
    secret = hpke.derive_secret(bytes.fromhex(published.seed_receiver))
    public = hpke.public_of(secret)
    assert public.hex() == published.public
    enc, sender = hpke.sender(public, INFO, ephemeral=ephemeral, cipher=published.cipher)
    assert enc.hex() == published.enc
    assert sender.seal(TEXT, b"Count-0").hex() == published.sealed
    receiver = hpke.receiver(secret, public, enc, INFO, published.cipher)
    assert receiver.open(bytes.fromhex(published.sealed), b"Count-0") == TEXT
    for side in (sender, receiver):
        exported = tuple(side.export(label, 32).hex() for label in (b"", b"\0", b"TestContext"))
        assert exported == published.exported


@given(st.binary(max_size=2000), st.binary(max_size=50), st.binary(min_size=32, max_size=32))
def test_pyhpke_opens_what_we_seal_and_exports_the_same(
    text: bytes, info: bytes, secret: bytes
) -> None:
    enc, ours = hpke.sender(hpke.public_of(secret), info)
    key = KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(secret))
    context = _PYHPKE.create_recipient_context(enc, key, info=info)
    assert context.open(ours.seal(text)) == text
    assert context.export(b"label", 32) == ours.export(b"label", 32)


@given(st.binary(max_size=2000), st.binary(max_size=50), st.binary(min_size=32, max_size=32))
def test_we_open_what_pyhpke_seals_and_export_the_same(
    text: bytes, info: bytes, secret: bytes
) -> None:
    public = hpke.public_of(secret)
    key = KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(public))
    enc, context = _PYHPKE.create_sender_context(key, info=info)
    ours = hpke.receiver(secret, public, enc, info)
    assert ours.open(context.seal(text)) == text
    assert context.export(b"label", 32) == ours.export(b"label", 32)


@given(st.binary(max_size=2000), st.binary(max_size=50))
def test_cryptography_opens_what_we_seal_and_we_open_what_it_seals(
    text: bytes, info: bytes
) -> None:
    pair = X25519PrivateKey.from_private_bytes(SECRET)
    enc, ours = hpke.sender(PUBLIC, info)
    assert _PYCA.decrypt(enc + ours.seal(text), pair, info) == text
    sealed = _PYCA.encrypt(text, pair.public_key(), info)
    assert hpke.receiver(SECRET, PUBLIC, sealed[:32], info).open(sealed[32:]) == text


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_attack_a_point_of_small_order_is_refused_by_both_sides(point: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        hpke.sender(point, b"")
    assert refused.value.code == Reason.BAD_KEY
    with pytest.raises(RefusedError) as refused:
        hpke.receiver(SECRET, PUBLIC, point, b"")
    assert refused.value.code == Reason.MALFORMED


@pytest.mark.parametrize("key", [b"", b"short", bytes(33)])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        hpke.sender(key, b"")
    assert refused.value.code == Reason.BAD_KEY
    with pytest.raises(RefusedError) as refused:
        hpke.receiver(SECRET, PUBLIC, key, b"")
    assert refused.value.code == Reason.MALFORMED


@given(st.binary(max_size=100))
def test_a_text_that_was_not_sealed_does_not_open(text: bytes) -> None:
    _, context = hpke.sender(PUBLIC, b"")
    with pytest.raises(RefusedError) as refused:
        context.open(text)
    assert refused.value.code == Reason.MALFORMED


def test_no_secret_is_shown_when_a_context_is_printed() -> None:
    _, context = hpke.sender(PUBLIC, b"")
    shown = repr(context)
    assert not any(repr(one) in shown for one in (context.key, context.nonce, context.exporter))
