"""The swarm on real libp2p: the one package of the product that imports it.

    async with open_swarm(listen=["/ip4/127.0.0.1/tcp/0"]) as swarm:
        await swarm.join(topic, validator)

The version of libp2p is exactly 0.8.1, because much of it is overridden, also by private names:
stock libp2p is not safe on an open network. Each override states what stock does.
tests/wire/gossip/test_gossip_stock.py shows it, and fails once upstream has fixed it.
"""

from __future__ import annotations

from methrics.node.network.libp2p import (
    compat as compat,  # first: it makes libp2p importable and quiet
)
from methrics.node.network.libp2p.node import GossipSwarm, open_swarm
from methrics.node.network.libp2p.settings import GossipSettings

__all__ = ["GossipSettings", "GossipSwarm", "open_swarm"]
