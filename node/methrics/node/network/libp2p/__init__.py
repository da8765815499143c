"""The swarm on libp2p. No other package of the product imports libp2p.

    async with open_swarm(listen=["/ip4/127.0.0.1/tcp/0"]) as swarm:
        await swarm.join(topic, validator)

Gossip is `methrics.node.mesh`, a pure state machine; `gossip.py` carries it. Of libp2p this package
uses the host, TCP, Noise, multistream-select, identify, peer ids and multiaddresses. Nothing is
built on its pubsub (docs/decisions/0017-own-gossipsub.md), and the muxer is our own.

The version of libp2p must be exactly 0.8.1, because this package overrides some of it, including
private names: unchanged ("stock") libp2p is not safe on an open network. Each override states what
stock libp2p does. tests/wire/gossip/test_gossip_stock.py shows these faults, and fails once
upstream has fixed one of them.

    listener ──► GuardedSwarm (a place, or none) ──► Noise ──► Muxer ──► streams
                                                                         │
         Gossip ◄── frames ── reader per peer ◄── /meshsub ──────────────┤
           │ mesh.frame / take                                           │
           ├──► SendQueue per peer ──► writer per peer ──► /meshsub ─────┤
           └──► Validation ──► the validators of the services            │
         Requests ◄── one request, one reply ◄───────────────────────────┘
"""

from __future__ import annotations

from methrics.node.network.libp2p import (
    compat as compat,  # first: it makes libp2p importable and quiet
)
from methrics.node.network.libp2p.node import GossipSwarm, open_swarm
from methrics.node.network.libp2p.settings import GossipSettings

__all__ = ["GossipSettings", "GossipSwarm", "open_swarm"]
