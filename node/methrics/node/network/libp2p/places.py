"""Shares the places for connections fairly among peers and their networks."""

from __future__ import annotations

from functools import partial

import trio

from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.frames import GoAway
from methrics.node.network.libp2p.muxer import Muxer
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.shares import Shares

_FLOOR = 16.0
"""Bytes per second, in both directions and without pings, below which a connection is idle. A mesh
peer counts as busy also while nobody publishes (`Gossip`)."""


class Place:
    """The place of one connection. While the handshake runs, `scope` ends it; then `muxer` does."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.muxer: Muxer | None = None

    def end(self) -> None:
        """Close the connection soon."""
        if self.muxer is None:
            self.scope.cancel()
        else:
            self.muxer.end(GoAway.NORMAL)


class Places:
    """The places of one host."""

    def __init__(self, settings: GossipSettings, counters: Counters) -> None:
        self._counters = counters
        self._of: dict[Muxer, Place] = {}
        self._shares: Shares[Place] = Shares(
            settings.connections_max,
            per_holder=1,
            per_listed=1,
            reserve=settings.connections_listed,
            floor=_FLOOR,
        )

    def __len__(self) -> int:
        """Return the number of places that are taken."""
        return len(self._shares)

    def take(self, origin: bytes, *, listed: bool) -> Place | None:
        """Take a place for a connection from a network; return None if there is none for it. A
        connection that has to make room is closed."""
        place = Place()
        return place if self._take(place, origin, listed=listed) else None

    def _take(self, place: Place, origin: bytes, *, listed: bool) -> bool:
        taken = self._shares.take(place, origin, trio.current_time(), listed=listed)
        for one in taken.evicted:
            self._counters.evicted += 1
            one.end()
        return taken.granted

    def settle(self, place: Place, muxer: Muxer, *, listed: bool) -> bool:
        """Note that the handshake is over. Return False if the place, or the connection, was lost
        meanwhile."""
        if muxer.is_ending:
            return False
        place.muxer = muxer
        self._of[muxer] = place
        muxer.moved = partial(self.progress, muxer)
        muxer.left = partial(self._left, muxer)
        if not listed:
            return place in self._shares
        self._shares.give(place)
        return self._take(place, muxer.origin, listed=True)

    def give(self, place: Place) -> None:
        """Give a place back."""
        self._shares.give(place)

    def progress(self, muxer: Muxer, n: int) -> None:
        """Note that a connection moved `n` bytes, or did work that is worth as much."""
        place = self._of.get(muxer)
        if place is not None:
            self._shares.progress(place, n, trio.current_time())

    def _left(self, muxer: Muxer) -> None:
        place = self._of.pop(muxer, None)
        if place is not None:
            self._shares.give(place)
