"""Where the live endpoint listens, from the options of `methrics aggregate`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from methrics.aggregate.serve.callers import LOCAL_NAMES, parse_listen
from methrics.aggregate.serve.limits import Limits
from methrics.schema.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Where the endpoint listens, and its limits."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 for any free port."""
    names: frozenset[str] = LOCAL_NAMES
    """Host names by which it may be asked; empty for any."""
    limits: Limits = field(default_factory=Limits)


def serve_settings(address: str | None, open_to_others: bool) -> ServeSettings | None:
    """Return where to serve for the options --http and --http-open; None if not at all.

    Raises ConfigError `http-address`.
    """
    if address is None:
        if open_to_others:
            raise ConfigError("http-address", "--http-open is about --http", "add --http HOST:PORT")
        return None
    host, port = parse_listen(address, open_to_others=open_to_others)
    local = ip_address(host).is_loopback
    return ServeSettings(host, port, LOCAL_NAMES | {host} if local else frozenset())
