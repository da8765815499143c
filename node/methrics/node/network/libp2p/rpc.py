"""Encodes, decodes, signs and verifies messages of the libp2p pubsub protocol (StrictSign)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from methrics._vendor.libp2p.crypto.keys import PrivateKey
from methrics._vendor.libp2p.crypto.serialization import deserialize_public_key
from methrics._vendor.libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.pubsub.pb import rpc_pb2
from methrics._vendor.libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX, signature_validator

_PREFIX = PUBSUB_SIGNING_PREFIX.encode()
_ED25519_ID = b"\x00\x24\x08\x01\x12\x20"
"""The first bytes of a peer id that contains its own Ed25519 key: an identity multihash of 36 bytes
of protobuf."""

_PUBLISH_TAG = b"\x12"
"""Tag of field 2 of an RPC, which is length-delimited and contains one published message."""

_CHUNK = 65_536

_INSIDE = {0: {1: 2, 2: 2, 3: 1}, 1: dict.fromkeys(range(1, 7), 2), 2: {}}
"""Level -> number of a field that contains a message -> level of that message. Level 0 is an RPC, 1
its control part, and 2 a message without inner messages."""


def uvarint(value: int) -> bytes:
    """Return `value` as an unsigned LEB128 integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def publish_frame(message: bytes) -> bytes:
    """Return the frame (length first) with one serialized message. The same frame is sent to all
    peers."""
    rpc = _PUBLISH_TAG + uvarint(len(message))
    return b"".join((uvarint(len(rpc) + len(message)), rpc, message))


def rpc_frame(rpc: rpc_pb2.RPC) -> bytes:
    """Return the frame (length first) of any RPC."""
    body: bytes = rpc.SerializeToString()
    return uvarint(len(body)) + body


def sign(topic: str, data: bytes, sender: bytes, seqno: int, key: PrivateKey) -> bytes:
    """Return a signed, serialized message (StrictSign). `sender` is the peer id of `key`."""
    message = rpc_pb2.Message(
        data=data, topicIDs=[topic], from_id=sender, seqno=seqno.to_bytes(8, "big")
    )
    message.signature = key.sign(_PREFIX + message.SerializeToString())
    return bytes(message.SerializeToString())


def validly_signed(message: rpc_pb2.Message) -> bool:
    """Whether the message has a valid signature of its sender. Never raises."""
    sender: bytes = message.from_id
    if len(message.seqno) != 8:
        return False  # js-libp2p refuses such a message, and lowers our peer score if we forward it
    if len(sender) != 38 or not sender.startswith(_ED25519_ID):
        return _validly_signed_otherwise(message)
    if len(message.signature) != 64 or message.key not in (b"", sender[2:]):
        return False  # another key than the sender's: no signature covers it; go and js refuse it
    unsigned = rpc_pb2.Message(
        data=message.data, topicIDs=message.topicIDs, from_id=sender, seqno=message.seqno
    )
    try:
        crypto_sign_open(
            message.signature + _PREFIX + unsigned.SerializeToString(),
            sender[len(_ED25519_ID) :],
        )
    except (BadSignatureError, ValueError):
        return False
    return True


def _validly_signed_otherwise(message: rpc_pb2.Message) -> bool:
    """As `validly_signed`, for senders whose key is of another kind. C1: the stock check raises an
    error for a key that it cannot decode."""
    try:
        if message.key and ID.from_pubkey(deserialize_public_key(message.key)) != ID(
            message.from_id
        ):
            return False
        return bool(signature_validator(message))
    except Exception:  # noqa: BLE001 - several parsers that do not document their errors
        return False


def count_parts(frame: bytes, most: int) -> int:
    """Return the number of fields in an RPC and in its parts; stop counting above `most`.

    Decoding needs time and memory per field, and a frame has room for half a million empty fields.
    If the bytes are not protobuf, the fields before the first error are counted.
    """
    count, level, at, end = 0, 0, 0, len(frame)
    ends: list[tuple[int, int]] = []
    while count <= most:
        while at >= end and ends:
            level, end = ends.pop()
        if at >= end:
            break
        count += 1
        try:
            tag, at = _uvarint_at(frame, at)
            if tag & 7 == 2:
                size, at = _uvarint_at(frame, at)
                inside = _INSIDE[level].get(tag >> 3)
                if inside is None:
                    at += size
                else:
                    ends.append((level, end))
                    level, end = inside, min(end, at + size)
            elif tag & 7 == 0:
                _, at = _uvarint_at(frame, at)
            elif tag & 7 in (1, 5):
                at += 8 if tag & 7 == 1 else 4
            else:
                break
        except IndexError:
            break
    return count


def _uvarint_at(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    if value < 0x80:
        return value, at + 1
    value &= 0x7F
    for i in range(1, 10):
        byte = data[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise IndexError("a varint of more than ten bytes")


class FrameReader:
    """Reads length-prefixed frames from a stream in large pieces. Stock reads single bytes.

    `count_unread` is called with the number of bytes by which the buffer grew (negative if it
    shrank).
    """

    def __init__(
        self,
        read: Callable[[int], Awaitable[bytes]],
        frame_max: int,
        count_unread: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._read = read
        self._frame_max = frame_max
        self._count_unread = count_unread
        self._buffer = bytearray()

    def close(self) -> None:
        """Drops the bytes of an unfinished frame."""
        self._count_unread(-len(self._buffer))
        self._buffer = bytearray()

    async def next(self) -> bytes:
        """Return the next frame. Raises `MessageTooLarge` if it has more than `frame_max` bytes,
        and `IncompleteReadError` if the stream ends."""
        while True:
            length, size = self._length()
            if length is not None:
                if length > self._frame_max:
                    raise MessageTooLarge(f"a frame of {length} bytes")
                if len(self._buffer) >= size + length:
                    frame = bytes(memoryview(self._buffer)[size : size + length])
                    del self._buffer[: size + length]
                    self._count_unread(-(size + length))
                    return frame
            data = await self._read(_CHUNK)
            if not data:
                raise IncompleteReadError("the stream ended", expected_bytes=1, received_bytes=0)
            self._buffer += data
            self._count_unread(len(data))

    def _length(self) -> tuple[int | None, int]:
        length = 0
        for i, byte in enumerate(self._buffer[:10]):
            length |= (byte & 0x7F) << (7 * i)
            if not byte & 0x80:
                return length, i + 1
        if len(self._buffer) >= 10:
            raise MessageTooLarge("a length of more than ten bytes")
        return None, 0
