"""What the mesh asks of its shell: frames to send, messages to judge, peers to dial or to drop."""

from __future__ import annotations

from typing import NamedTuple

from methrics.node.mesh.rpc import Message, Rpc


class Send(NamedTuple):
    """Queue `rpc` for `peer`. The same `rpc` object may go to many peers.

    If the frame is dropped, because the peer's queue is full, the shell tells `Mesh.unsent`. It
    should drop a frame with messages first: frames without are small.
    """

    peer: str
    rpc: Rpc


class Judge(NamedTuple):
    """Verify the signature of `message`, then judge it. The answer is `Mesh.forged` or
    `Mesh.verdict`; one of them must come for each `Judge`."""

    content: bytes
    message: Message
    forwarder: str


class Dial(NamedTuple):
    """Connect to a peer that another peer named, if `record` is validly signed by `peer_id`. It may
    be connected already."""

    peer_id: bytes
    record: bytes


class Drop(NamedTuple):
    """Close the connection to `peer`. `reason` is one word for a log."""

    peer: str
    reason: str


Output = Send | Judge | Dial | Drop
