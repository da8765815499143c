"""Passes on the beginning and the end of each connection of a host."""

from __future__ import annotations

from collections.abc import Callable

from methrics._vendor.libp2p.abc import INetConn, INotifee
from methrics.node.network.libp2p.compat import override


def ignore(_: INetConn) -> None:
    """Do nothing."""


class Notifee(INotifee):
    """Calls `begun` and `ended` with a connection. Neither waits."""

    def __init__(
        self,
        begun: Callable[[INetConn], None] = ignore,
        ended: Callable[[INetConn], None] = ignore,
    ) -> None:
        self._begun = begun
        self._ended = ended

    @override
    async def connected(self, network: object, conn: INetConn) -> None:
        self._begun(conn)

    @override
    async def disconnected(self, network: object, conn: INetConn) -> None:
        self._ended(conn)

    @override
    async def opened_stream(self, network: object, stream: object) -> None: ...
    @override
    async def closed_stream(self, network: object, stream: object) -> None: ...
    @override
    async def listen(self, network: object, multiaddr: object) -> None: ...
    @override
    async def listen_close(self, network: object, multiaddr: object) -> None: ...
