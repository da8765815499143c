"""The swarm: topics, requests and peers. In memory for tests; on libp2p in production."""

__all__: list[str] = []
