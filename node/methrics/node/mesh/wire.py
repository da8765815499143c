"""Gossip frames and messages as bytes: protobuf of the libp2p pubsub protocol (pure).

The few fields are read and written by hand: one pass decodes a frame and counts its parts, which
protobuf cannot do before it has spent the time and memory. Tests compare with protobuf.
"""

from __future__ import annotations

from collections.abc import Iterator

from methrics.node.mesh.rpc import (
    ID_SIZE,
    Graft,
    IHave,
    IWant,
    Message,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
)

MESSAGES_MAX = 256
"""Most messages in one frame. Fewer fit if each one has a useful size."""

SUBSCRIPTIONS_MAX = 128
"""Most subscriptions in one frame: twice the topics that are noted per peer."""

PARTS_MAX = 10_000
"""Most fields in one frame: twice as many as the ids in the longest IHAVE of go- and js-libp2p.
Decoding needs time and memory per field, and a frame has room for half a million empty ones."""

PARTS_PER_MESSAGE = 50
"""This many fields need as much time as one message."""

SIGNING_PREFIX = b"libp2p-pubsub:"
"""What comes before the signed bytes of a message (libp2p pubsub, "Message Signing")."""

_ID_HEAD = b"\x12\x14"
"""Tag and length of a content id in an IHAVE."""

_SMALL = [bytes((value,)) for value in range(128)]


class WireError(ValueError):
    """Bytes that no honest node sends as a frame: not protobuf, or too many parts."""


def decode(frame: bytes) -> Rpc:
    """Return the frame without its length prefix as an object. Unknown fields are dropped, because
    no signature covers them, and go-libp2p refuses a message that has some.

    Raises `WireError` if the bytes do not decode, or have more parts than an honest frame. A
    message of no topic or of more than one gets the topic "".
    """
    return _Reader(frame).rpc()


def encode(rpc: Rpc) -> bytes:
    """Return the frame with its length first. The bytes are kept in `rpc.encoded`."""
    if not rpc.encoded:
        parts: list[bytes] = []
        for option in rpc.subscriptions:
            _put(parts, b"\x0a", (b"\x08", _SMALL[option.subscribe], *_text(b"\x12", option.topic)))
        for message in rpc.messages:
            _put(parts, b"\x12", _message_parts(message))
        control = _control_parts(rpc)
        if control:
            _put(parts, b"\x1a", control)
        rpc.size = sum(map(len, parts))
        head = uvarint(rpc.size)
        rpc.size += len(head)
        rpc.encoded = b"".join((head, *parts))
    return rpc.encoded


def frame_size(rpc: Rpc) -> int:
    """Return the number of bytes of `encode(rpc)`, without making them."""
    if not rpc.size:
        size = sum(_field(2 + _field(len(one.topic.encode()))) for one in rpc.subscriptions) + sum(
            _field(_message_size(one)) for one in rpc.messages
        )
        control = _control_parts(rpc)
        if control:
            size += _field(sum(map(len, control)))
        rpc.size = _varint_size(size) + size
    return rpc.size


def cost(rpc: Rpc) -> int:
    """Return the number of messages that reading `rpc` costs as much time as, at least 1: what a
    shell spends of the peer's rate."""
    return max(1, len(rpc.messages) + len(rpc.subscriptions), rpc.parts // PARTS_PER_MESSAGE)


def signed_bytes(message: Message) -> bytes:
    """Return the bytes that the sender of a message signs (StrictSign)."""
    return b"".join((SIGNING_PREFIX, *_unsigned_parts(message)))


def uvarint(value: int) -> bytes:
    """Return `value` as an unsigned LEB128 integer."""
    if value < 128:
        return _SMALL[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Reader:
    """Reads the fields of one frame and counts them."""

    __slots__ = ("_data", "_parts")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._parts = 0

    def rpc(self) -> Rpc:
        data = self._data
        subscriptions: list[Subscription] = []
        messages: list[Message] = []
        control = _Control()
        for tag, start, end in self._fields(0, len(data)):
            if tag == 0x12:
                messages.append(self._message(start, end))
                if len(messages) > MESSAGES_MAX:
                    raise WireError("too many messages in one frame")
            elif tag == 0x0A:
                subscriptions.append(self._subscription(start, end))
                if len(subscriptions) > SUBSCRIPTIONS_MAX:
                    raise WireError("too many subscriptions in one frame")
            elif tag == 0x1A:
                self._control(start, end, control)
        rpc = Rpc(
            tuple(subscriptions),
            tuple(messages),
            tuple(control.ihave),
            tuple(control.iwant),
            tuple(control.graft),
            tuple(control.prune),
        )
        rpc.parts = self._parts
        return rpc

    def _fields(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield the tag of each field, and where its bytes start and end, or its number and 0."""
        data = self._data
        while at < end:
            self._parts += 1
            if self._parts > PARTS_MAX:
                raise WireError("too many parts in one frame")
            tag = data[at]
            at += 1
            if tag > 127:
                tag, at = self._uvarint(at - 1, end)
            kind = tag & 7
            if tag < 8:
                raise WireError("a field without a number")
            if kind == 2:
                if at >= end:
                    raise WireError("a frame that ends within a field")
                size = data[at]
                at += 1
                if size > 127:
                    size, at = self._uvarint(at - 1, end)
                start, at = at, at + size
                if at > end:
                    raise WireError("a field that is longer than its frame")
                yield tag, start, at
            elif kind == 0:
                value, at = self._uvarint(at, end)
                yield tag, value, 0
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
                if at > end:
                    raise WireError("a field that is longer than its frame")
            else:
                raise WireError("a field of an unknown kind")

    def _uvarint(self, at: int, end: int) -> tuple[int, int]:
        data, value = self._data, 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise WireError("a frame that ends within a number")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 128:
                return value, at
        raise WireError("a number of more than ten bytes")

    def _text(self, start: int, end: int) -> str:
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError as error:
            raise WireError("a topic that is not UTF-8") from error

    def _message(self, start: int, end: int) -> Message:
        values = {0x0A: b"", 0x12: b"", 0x1A: b"", 0x2A: b"", 0x32: b""}
        topics: list[str] = []
        data = self._data
        for tag, first, last in self._fields(start, end):
            if tag in values:
                values[tag] = data[first:last]
            elif tag == 0x22:
                topics.append(self._text(first, last))
        topic = topics[0] if len(topics) == 1 else ""
        return Message(values[0x0A], values[0x12], values[0x1A], topic, values[0x2A], values[0x32])

    def _subscription(self, start: int, end: int) -> Subscription:
        topic, subscribe = "", False
        for tag, first, last in self._fields(start, end):
            if tag == 0x08:
                subscribe = bool(first & 0xFFFF_FFFF_FFFF_FFFF)
            elif tag == 0x12:
                topic = self._text(first, last)
        return Subscription(topic, subscribe)

    def _control(self, start: int, end: int, control: _Control) -> None:
        for tag, first, last in self._fields(start, end):
            if tag == 0x0A:
                control.ihave.append(self._ihave(first, last))
            elif tag == 0x12:
                control.iwant.append(IWant(self._iwant(first, last)))
            elif tag == 0x1A:
                topic = ""
                for inner, low, high in self._fields(first, last):
                    if inner == 0x0A:
                        topic = self._text(low, high)
                control.graft.append(Graft(topic))
            elif tag == 0x22:
                control.prune.append(self._prune(first, last))

    def _ihave(self, start: int, end: int) -> IHave:
        topic, data = "", self._data
        ids: list[bytes] = []
        for tag, first, last in self._fields(start, end):
            if tag == 0x12:
                ids.append(data[first:last])
            elif tag == 0x0A:
                topic = self._text(first, last)
                block = self._block(0x12, last, end)
                if block:
                    return IHave(topic, (*ids, *block))
        return IHave(topic, tuple(ids))

    def _iwant(self, start: int, end: int) -> tuple[bytes, ...]:
        block = self._block(0x0A, start, end)
        if block:
            return tuple(block)
        data, fields = self._data, self._fields(start, end)
        return tuple(data[first:last] for tag, first, last in fields if tag == 0x0A)

    def _block(self, tag: int, start: int, end: int) -> list[bytes]:
        """Return the fields of a part that consists of content ids only, which is faster than to
        read them one by one. Otherwise the list is empty."""
        step = 2 + ID_SIZE
        count, rest = divmod(end - start, step)
        block = self._data[start:end]
        if rest or not count or self._parts + count > PARTS_MAX:
            return []
        if block[::step] != bytes((tag,)) * count or block[1::step] != bytes((ID_SIZE,)) * count:
            return []
        self._parts += count
        return [block[at : at + ID_SIZE] for at in range(2, len(block), step)]

    def _prune(self, start: int, end: int) -> Prune:
        topic, backoff, peers, data = "", 0, [], self._data
        for tag, first, last in self._fields(start, end):
            if tag == 0x0A:
                topic = self._text(first, last)
            elif tag == 0x18:
                backoff = first & 0xFFFF_FFFF_FFFF_FFFF
            elif tag == 0x12:
                peer_id = record = b""
                for inner, low, high in self._fields(first, last):
                    if inner == 0x0A:
                        peer_id = data[low:high]
                    elif inner == 0x12:
                        record = data[low:high]
                peers.append(PeerInfo(peer_id, record))
        return Prune(topic, backoff, tuple(peers))


class _Control:
    """The control parts of a frame, which may come in several pieces."""

    __slots__ = ("graft", "ihave", "iwant", "prune")

    def __init__(self) -> None:
        self.ihave: list[IHave] = []
        self.iwant: list[IWant] = []
        self.graft: list[Graft] = []
        self.prune: list[Prune] = []


def _put(parts: list[bytes], tag: bytes, inner: tuple[bytes, ...] | list[bytes]) -> None:
    """Append a field that contains the joined bytes of `inner`."""
    parts += (tag, uvarint(sum(map(len, inner))))
    parts += inner


def _text(tag: bytes, text: str) -> tuple[bytes, bytes, bytes]:
    return _data(tag, text.encode())


def _data(tag: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    return tag, uvarint(len(data)), data


def _unsigned_parts(message: Message) -> tuple[bytes, ...]:
    """The fields of a message that its signature covers, as protobuf writes them."""
    return (
        *_data(b"\x0a", message.sender),
        *_data(b"\x12", message.data),
        *_data(b"\x1a", message.seqno),
        *_text(b"\x22", message.topic),
    )


def _message_parts(message: Message) -> tuple[bytes, ...]:
    parts = _unsigned_parts(message)
    if message.signature:
        parts += _data(b"\x2a", message.signature)
    if message.key:
        parts += _data(b"\x32", message.key)
    return parts


def _control_parts(rpc: Rpc) -> list[bytes]:
    parts: list[bytes] = []
    for ihave in rpc.ihave:
        inner = [*_text(b"\x0a", ihave.topic)]
        for content in ihave.ids:
            inner += (_ID_HEAD, content) if len(content) == ID_SIZE else _data(b"\x12", content)
        _put(parts, b"\x0a", inner)
    for iwant in rpc.iwant:
        inner = []
        for content in iwant.ids:
            inner += _data(b"\x0a", content)
        _put(parts, b"\x12", inner)
    for graft in rpc.graft:
        _put(parts, b"\x1a", _text(b"\x0a", graft.topic))
    for prune in rpc.prune:
        inner = [*_text(b"\x0a", prune.topic)]
        for peer in prune.peers:
            _put(inner, b"\x12", (*_data(b"\x0a", peer.peer_id), *_data(b"\x12", peer.record)))
        if prune.backoff:
            inner += (b"\x18", uvarint(prune.backoff))
        _put(parts, b"\x22", inner)
    return parts


def _varint_size(value: int) -> int:
    return 1 if value < 128 else (value.bit_length() + 6) // 7


def _field(size: int) -> int:
    """Bytes of a field with a tag of one byte and `size` bytes of content."""
    return 1 + _varint_size(size) + size


def _message_size(message: Message) -> int:
    size = _field(len(message.sender)) + _field(len(message.data)) + _field(len(message.seqno))
    size += _field(len(message.topic.encode()))
    if message.signature:
        size += _field(len(message.signature))
    return size + _field(len(message.key)) if message.key else size
