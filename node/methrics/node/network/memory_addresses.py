"""The addresses of peers of a network in memory: `/memory/<id>/p2p/<id>` (pure)."""

from __future__ import annotations

from methrics.node.network.swarm import PeerId
from methrics.schema.errors import ConfigError


def address_of(peer: PeerId) -> str:
    """Return the address of a peer."""
    return f"/memory/{peer}/p2p/{peer}"


def peer_of(addr: str) -> PeerId:
    """Return the peer id in an address. Raises `ConfigError` for another form."""
    parts = addr.split("/")
    if len(parts) != 5 or parts[:2] != ["", "memory"] or parts[3] != "p2p" or parts[2] != parts[4]:
        raise ConfigError("bad-address", f"{addr!r} is not a memory address")
    return parts[4]
