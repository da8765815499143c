"""Gossip frames and messages as bytes: protobuf of the libp2p pubsub protocol (pure)."""

from __future__ import annotations

from methrics.node.mesh.rpc import Message, Rpc


class WireError(ValueError):
    """Bytes that no honest node sends as a frame: not protobuf, or too many parts."""


def decode(frame: bytes) -> Rpc:
    """Return the frame without its length prefix as an object. Unknown fields are dropped.

    Raises `WireError` if the bytes do not decode, or have more parts than an honest frame. A
    message of no topic or of more than one gets the topic "".
    """
    raise NotImplementedError


def encode(rpc: Rpc) -> bytes:
    """Return the frame with its length first. The bytes are kept in `rpc.encoded`."""
    raise NotImplementedError


def frame_size(rpc: Rpc) -> int:
    """Return the number of bytes of `encode(rpc)`, without making them."""
    raise NotImplementedError


def cost(rpc: Rpc) -> int:
    """Return the number of messages that reading `rpc` costs as much time as, at least 1: what a
    shell spends of the peer's rate."""
    raise NotImplementedError


def signed_bytes(message: Message) -> bytes:
    """Return the bytes that the sender of a message signs (StrictSign)."""
    raise NotImplementedError
