"""The swarm: topics, requests and peers; in memory for tests, on libp2p for real."""

__all__: list[str] = []
