"""Whom to ask next, so that strangers cannot choose it by coming first or in numbers.

Peers that this node's operator named, or that this node has dialled, come first. Others take turns
by network: the network that was asked longest ago is next, however many peers it has.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Hashable, Mapping
from typing import TypeVar

from methrics.node.clock import Rng
from methrics.node.network.swarm import PeerId, Swarm

TURNS_MAX = 1024
"""Most networks and peers whose turn is remembered; those that were asked longest ago go first."""

Entry = TypeVar("Entry", bound=Hashable)


def network_of(swarm: Swarm, peer: PeerId) -> bytes:
    """Return a token of the peer's network; a peer of an unknown network is one of its own."""
    return swarm.origin(peer) or peer.encode()


class Turns:
    """The order in which networks, and the peers of each, were asked."""

    def __init__(self, swarm: Swarm, rng: Rng) -> None:
        self._swarm = swarm
        self._rng = rng
        self._asked: OrderedDict[bytes | PeerId, None] = OrderedDict()

    def order(self, peers: Collection[PeerId]) -> list[PeerId]:
        """Return the peers, those first whose network was asked longest ago; else at random."""
        ranks = {one: rank for rank, one in enumerate(self._asked, 1)}

        def rank(peer: PeerId) -> tuple[int, int, float]:
            network = network_of(self._swarm, peer)
            return ranks.get(network, 0), ranks.get(peer, 0), self._rng()

        return sorted(sorted(peers), key=rank)

    def own(self, topic: str) -> list[PeerId]:
        """Return the peers of a topic that no stranger can be among: direct ones, then dialled
        ones, each in order."""
        direct = self._swarm.direct_peers(topic)
        return [*self.order(direct), *self.order(self._swarm.dialled_peers(topic) - direct)]

    def had(self, peer: PeerId) -> bool:
        """Whether a peer of this network was asked."""
        return network_of(self._swarm, peer) in self._asked

    def note(self, peers: Collection[PeerId]) -> None:
        """Note that these peers are asked now."""
        asked: list[bytes | PeerId] = [*peers]
        asked += [network_of(self._swarm, peer) for peer in peers]
        for one in asked:
            self._asked[one] = None
            self._asked.move_to_end(one)
        while len(self._asked) > TURNS_MAX:
            self._asked.popitem(last=False)


def most_crowded(networks: Mapping[Entry, bytes], newcomer: bytes) -> Entry | None:
    """Return which entry of a full table makes room: the oldest one of the network that has most.
    Return None if no network has more entries than the newcomer's would have then.

    `networks`: the network of each entry, oldest first.
    """
    counts = Counter(networks.values())
    network, most = max(counts.items(), key=lambda one: one[1], default=(b"", 0))
    if most <= counts[newcomer]:
        return None
    return next(entry for entry, one in networks.items() if one == network)
