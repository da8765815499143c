"""The swarm of connected peers: on libp2p in production, and in memory for tests."""

__all__: list[str] = []
