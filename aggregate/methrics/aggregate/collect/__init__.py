"""The aggregator service: it judges gossip messages and commits their items."""

__all__: list[str] = []
