"""The parts of one gossip frame (libp2p pubsub RPC), as plain objects without bytes of their own.

A frame from a peer is an `Rpc`; `methrics.node.mesh.wire` decodes and encodes it. The simulator
passes these objects from node to node as they are. Nobody changes one after it was made.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

ID_SIZE = 20
"""Bytes of a content id. 20 bytes of SHA-256 are enough against collisions."""


def content_id(topic: str, data: bytes) -> bytes:
    """Return the gossip message id: the first 20 bytes of SHA-256(topic, 0x00, data).

    It depends on the content, so that one bundle published by two relays is one message. It depends
    on the topic, so that a bundle which was published on a wrong topic, and rejected there, can
    still be published on the right one.
    """
    return hashlib.sha256(topic.encode() + b"\0" + data).digest()[:ID_SIZE]


@dataclass(slots=True)
class Message:
    """One published message. `sender` is the peer id of who signed it, as bytes.

    `topic` is empty if the frame named none, or more than one: no node takes such a message.
    """

    sender: bytes
    data: bytes
    seqno: bytes
    topic: str
    signature: bytes = b""
    key: bytes = b""
    _content: bytes = field(default=b"", init=False, compare=False, repr=False)

    @property
    def content(self) -> bytes:
        """The content id; computed once."""
        if not self._content:
            self._content = content_id(self.topic, self.data)
        return self._content


@dataclass(slots=True)
class Subscription:
    """The sender of the frame joins `topic`, or leaves it."""

    topic: str
    subscribe: bool


@dataclass(slots=True)
class IHave:
    """The sender of the frame has these contents of `topic`."""

    topic: str
    ids: tuple[bytes, ...]


@dataclass(slots=True)
class IWant:
    """The sender of the frame asks for these contents."""

    ids: tuple[bytes, ...]


@dataclass(slots=True)
class Graft:
    """The sender of the frame adds us to its mesh of `topic`."""

    topic: str


@dataclass(slots=True)
class PeerInfo:
    """A peer to connect to: its id, and its addresses signed by itself (empty if not known)."""

    peer_id: bytes
    record: bytes = b""


@dataclass(slots=True)
class Prune:
    """The sender of the frame removes us from its mesh of `topic` for `backoff` seconds (0: not
    stated), and names other peers of the topic."""

    topic: str
    backoff: int = 0
    peers: tuple[PeerInfo, ...] = ()


@dataclass(slots=True)
class Rpc:
    """One frame. `encoded` keeps its bytes, with the length first, once they were computed, so that
    a frame for many peers is encoded once; `size` keeps their number. `parts` is the number of
    fields that were read to decode it."""

    subscriptions: tuple[Subscription, ...] = ()
    messages: tuple[Message, ...] = ()
    ihave: tuple[IHave, ...] = ()
    iwant: tuple[IWant, ...] = ()
    graft: tuple[Graft, ...] = ()
    prune: tuple[Prune, ...] = ()
    encoded: bytes = field(default=b"", init=False, compare=False, repr=False)
    size: int = field(default=0, init=False, compare=False, repr=False)
    parts: int = field(default=0, init=False, compare=False, repr=False)
