"""Gossip between peers: gossipsub 1.1 as a pure state machine, and its wire format."""

__all__: list[str] = []
