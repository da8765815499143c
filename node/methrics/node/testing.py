"""A whole network in memory, for tests of anything built on a swarm (public API)."""

from __future__ import annotations

from methrics.node.network.memory import MemoryNetwork, MemorySwarm

__all__ = ["MemoryNetwork", "MemorySwarm"]
