"""RSA keys of strangers: ordinary ones work, and others cost nothing, wherever they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

import pytest
from Crypto.PublicKey import RSA
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from methrics._vendor.libp2p.crypto.keys import KeyPair
from methrics._vendor.libp2p.crypto.pb import crypto_pb2
from methrics._vendor.libp2p.crypto.rsa import RSAPublicKey, create_new_key_pair
from methrics._vendor.libp2p.crypto.serialization import deserialize_public_key
from methrics._vendor.libp2p.peer.envelope import seal_record, unmarshal_envelope
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.pb.envelope_pb2 import Envelope
from methrics._vendor.libp2p.peer.peer_record import PeerRecord
from methrics._vendor.libp2p.security.noise.messages import NoiseHandshakePayload
from methrics._vendor.libp2p.security.noise.pb import noise_pb2
from methrics.node.mesh.rpc import Message
from methrics.node.mesh.wire import signed_bytes
from methrics.node.network.libp2p import keys, signing
from methrics.node.network.libp2p.signing import validly_signed


@lru_cache(1)
def pair() -> KeyPair:
    return create_new_key_pair(2048)


def public(modulus: int, exponent: int) -> bytes:
    """The DER form of a key, which its library checks in no way."""
    return RSA.RsaKey(n=modulus, e=exponent).export_key("DER")


def number(bits: int) -> int:
    """Some odd number of that size."""
    return int.from_bytes(hashlib.shake_256(b"number").digest(bits // 8), "big") | 1 << bits - 1 | 1


def elliptic() -> bytes:
    key = ec.derive_private_key(7, ec.SECP521R1()).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


COSTLY: dict[str, Callable[[], bytes]] = {
    "a large exponent": lambda: public(number(4096), number(4080)),
    "another exponent": lambda: public(number(2048), 3),
    "a huge modulus": lambda: public(number(60_000), number(50_000)),
    "a large modulus": lambda: public(number(4104), 65_537),
    "a small modulus": lambda: public(number(1024), 65_537),
    "a private key": lambda: pair().private_key.to_bytes(),
    "a text": lambda: RSA.RsaKey(n=number(2048), e=65_537).export_key("PEM"),
    "another kind": elliptic,
    "no key": lambda: b"key",
}


def wrapped(data: bytes) -> bytes:
    """A key as libp2p sends it."""
    return crypto_pb2.PublicKey(key_type=crypto_pb2.RSA, data=data).SerializeToString()


def in_a_record(data: bytes) -> None:
    envelope = Envelope.FromString(
        seal_record(PeerRecord(ID(b"\x00\x01x"), []), pair().private_key).marshal_envelope()
    )
    envelope.public_key.Data = data
    unmarshal_envelope(envelope.SerializeToString())


def in_a_handshake(data: bytes) -> None:
    payload = noise_pb2.NoiseHandshakePayload(identity_key=wrapped(data), identity_sig=b"sig")
    NoiseHandshakePayload.deserialize(payload.SerializeToString())


READERS: dict[str, Callable[[bytes], object]] = {
    "alone": RSAPublicKey.from_bytes,
    "in a message": lambda data: deserialize_public_key(wrapped(data)),
    "in a record": in_a_record,
    "in a handshake": in_a_handshake,
}


@pytest.mark.parametrize("reader", READERS)
def test_an_ordinary_key_is_read(reader: str) -> None:
    READERS[reader](pair().public_key.to_bytes())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", COSTLY)
def test_attack_a_costly_rsa_key_is_refused_before_it_is_used(
    monkeypatch: pytest.MonkeyPatch, kind: str, reader: str
) -> None:
    data = COSTLY[kind]()

    def computes(*_: object, **__: object) -> None:
        raise AssertionError("a costly step")

    monkeypatch.setattr(RSA, "import_key", computes)
    monkeypatch.setattr(RSA, "construct", computes)
    if len(data) > keys.BYTES_MAX:
        monkeypatch.setattr(keys, "load_der_public_key", computes)
    with pytest.raises(Exception) as caught:
        READERS[reader](data)
    assert not isinstance(caught.value, AssertionError)


def signed(key: bytes, sign: Callable[[bytes], bytes]) -> Message:
    sender = b"\x12\x20" + hashlib.sha256(key).digest()
    message = Message(sender, b"data", bytes(8), "topic", key=key)
    message.signature = sign(signed_bytes(message))
    return message


def test_a_message_of_a_peer_with_an_ordinary_rsa_key_is_valid() -> None:
    message = signed(pair().public_key.serialize(), pair().private_key.sign)
    assert validly_signed(message)
    message.data = b"other"
    assert not validly_signed(message)


@pytest.mark.parametrize("kind", COSTLY)
def test_attack_a_message_with_a_costly_rsa_key_is_forged(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    computed: list[object] = []
    message = signed(wrapped(COSTLY[kind]()), lambda _: bytes(512))
    monkeypatch.setattr(RSAPublicKey, "verify", lambda *args: computed.append(args))
    assert not validly_signed(message)
    assert not computed


@pytest.mark.parametrize(
    ("sender", "key"),
    [(b"\xff" * 100_000, b""), (b"\0" + b"\x80" * 65, b""), (b"\x12\x20" + bytes(32), bytes(9000))],
)
def test_attack_a_message_of_a_sender_or_key_without_end_is_forged_unread(
    monkeypatch: pytest.MonkeyPatch, sender: bytes, key: bytes
) -> None:
    """Reading a senseless id of a megabyte would take a minute."""
    read: list[object] = []
    monkeypatch.setattr(signing, "ID", read.append)
    monkeypatch.setattr(signing, "deserialize_public_key", read.append)
    message = Message(sender, b"data", bytes(8), "topic", signature=bytes(64), key=key)
    assert not validly_signed(message)
    assert not read
