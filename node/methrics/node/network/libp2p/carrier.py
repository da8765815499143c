"""The connection that a yamux stream is carried on, as the stream sees it."""

from __future__ import annotations

from abc import abstractmethod

from libp2p.abc import IMuxedConn

from methrics.node.network.libp2p.frames import Type
from methrics.node.network.libp2p.settings import GossipSettings


class Carrier(IMuxedConn):
    """Implemented by `Muxer`. Only `send` waits."""

    settings: GossipSettings

    @abstractmethod
    def get_remote_address(self) -> tuple[str, int] | None:
        """(host, port) of the peer, where the transport knows it."""

    @abstractmethod
    async def send(
        self, kind: Type, flags: int, stream_id: int, length: int, payload: bytes = b""
    ) -> None:
        """Writes one frame whole. Raises MuxedStreamError where the connection is closed."""

    @abstractmethod
    def queue(self, kind: Type, flags: int, stream_id: int, length: int) -> None:
        """Sends a frame without payload, soon and in order."""

    @abstractmethod
    def grant(self, stream_id: int, increment: int) -> None:
        """Tells the peer that it may send `increment` bytes more on that stream."""

    @abstractmethod
    def count_unread(self, n: int) -> None:
        """Counts `n` more bytes as received and unread; a negative `n` counts them as read."""

    @abstractmethod
    def forget(self, stream_id: int) -> None:
        """Drops a stream on which neither side will send any more."""
