"""The aggregator service: from gossip messages to judged and committed items."""

__all__: list[str] = []
