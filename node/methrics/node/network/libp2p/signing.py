"""Signs and verifies gossip messages (the pubsub protocol's StrictSign)."""

from __future__ import annotations

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from methrics._vendor.libp2p.crypto.keys import PrivateKey
from methrics._vendor.libp2p.crypto.serialization import deserialize_public_key
from methrics._vendor.libp2p.peer.id import ID
from methrics.node.mesh.rpc import Message
from methrics.node.mesh.wire import signed_bytes
from methrics.node.network.libp2p.keys import BYTES_MAX

_ED25519_ID = b"\x00\x24\x08\x01\x12\x20"
"""The first bytes of a peer id that contains its own Ed25519 key: an identity multihash of 36 bytes
of protobuf."""

_SENDER_MAX = 64
"""Most bytes of a peer id: a key that is contained has at most 42, and a hash has 32. The library
that reads the head of an id takes a minute for a senseless one of a megabyte."""

_KEY_MAX = BYTES_MAX + 64
"""Most bytes of the key in a message: an RSA key, and what libp2p puts around it."""


def sign(topic: str, data: bytes, sender: bytes, seqno: int, key: PrivateKey) -> Message:
    """Return a signed message. `sender` is the peer id of `key`."""
    message = Message(sender, data, seqno.to_bytes(8, "big"), topic)
    message.signature = key.sign(signed_bytes(message))
    return message


def validly_signed(message: Message) -> bool:
    """Whether the message has a valid signature of its sender. Never raises."""
    sender = message.sender
    if len(message.seqno) != 8:
        return False  # js-libp2p refuses such a message, and lowers our peer score if we forward it
    if len(sender) != 38 or not sender.startswith(_ED25519_ID):
        return _validly_signed_otherwise(message)
    if len(message.signature) != 64 or message.key not in (b"", sender[2:]):
        return False  # another key than the sender's: no signature covers it; go and js refuse it
    try:
        crypto_sign_open(message.signature + signed_bytes(message), sender[len(_ED25519_ID) :])
    except (BadSignatureError, ValueError):
        return False
    return True


def _validly_signed_otherwise(message: Message) -> bool:
    """As `validly_signed`, for senders whose key is of another kind. C1: the stock check raises an
    error for a key that it cannot decode."""
    if len(message.sender) > _SENDER_MAX or len(message.key) > _KEY_MAX:
        return False
    try:
        sender = ID(message.sender)
        key = deserialize_public_key(message.key) if message.key else sender.extract_public_key()
        if key is None or ID.from_pubkey(key) != sender:
            return False
        return bool(key.verify(signed_bytes(message), message.signature))
    except Exception:  # noqa: BLE001 - several parsers that do not document their errors
        return False
