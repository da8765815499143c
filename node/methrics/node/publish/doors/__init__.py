"""The doors through which a publisher talks to a relay: libp2p or HTTP."""

__all__: list[str] = []
