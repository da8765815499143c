"""The interface through which a yamux stream uses its connection."""

from __future__ import annotations

from abc import abstractmethod

from methrics._vendor.libp2p.abc import IMuxedConn
from methrics.node.network.libp2p.frames import Type
from methrics.node.network.libp2p.settings import GossipSettings


class Carrier(IMuxedConn):
    """Implemented by `Muxer`. Only `send` waits."""

    settings: GossipSettings

    @abstractmethod
    def get_remote_address(self) -> tuple[str, int] | None:
        """Returns (host, port) of the peer, or None if the transport does not know it."""

    @abstractmethod
    async def send(
        self, kind: Type, flags: int, stream_id: int, length: int, payload: bytes = b""
    ) -> None:
        """Writes one whole frame. Raises MuxedStreamError if the connection is closed."""

    @abstractmethod
    def queue(self, kind: Type, flags: int, stream_id: int, length: int) -> None:
        """Queues a frame without payload. A task sends the queued frames in order."""

    @abstractmethod
    def grant(self, stream_id: int, increment: int) -> None:
        """Allows the peer to send `increment` more bytes on that stream."""

    @abstractmethod
    def count_unread(self, n: int) -> None:
        """Counts `n` more bytes as received and unread; a negative `n` counts them as read."""

    @abstractmethod
    def forget(self, stream_id: int) -> None:
        """Drops a stream on which neither side will send any more data."""
