"""Opens the HTTP doors of a running relay on a socket, with or without TLS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from methrics.node.clock import Clock, system_entropy
from methrics.node.http.server import HttpLimits, serve_http
from methrics.node.http.tls import ServerTls
from methrics.node.network.origins import Origins
from methrics.node.relay import doors
from methrics.node.relay.http_door import HttpDoor, HttpParts
from methrics.node.relay.own_doors import OwnDoors
from methrics.node.relay.relay import Relay
from methrics.schema.errors import ConfigError

LIMITS = HttpLimits(connections=512, per_origin=64)
"""An app needs one connection for some seconds, a few times a day."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where the doors are. `tls`: the certificate; without it, nothing is encrypted on the way to
    the relay but the boxes. `behind`: the address of a proxy in front, whose X-Forwarded-For is
    believed."""

    host: str
    port: int
    tls: ServerTls | None = None
    behind: str | None = None


async def serve_http_doors(
    relay: Relay,
    own: OwnDoors,
    settings: HttpSettings,
    *,
    clock: Clock,
    listening: Callable[[str], None],
) -> None:
    """Serve the HTTP doors until cancelled. `listening` is called with the address, such as
    `http://127.0.0.1:8080/`. Raises ConfigError `http-address` if the port is taken."""
    origins = Origins(system_entropy(32))
    parts = HttpParts(
        submitter=relay.submitter,
        descriptors=lambda: doors.encode_descriptors(
            doors.Descriptors(clock.now(), own.exchange.descriptors())
        ),
        exit=relay.doors.exit,
        entry=relay.doors.entry,
        spreader=relay.doors.spreader,
        keys=own.configs,
    )
    door = HttpDoor(parts, origins, settings.behind)
    listeners: list[trio.abc.Listener[trio.abc.Stream]] = []
    try:
        for one in await trio.open_tcp_listeners(settings.port, host=settings.host):
            port = one.socket.getsockname()[1]
            listeners.append(_secured(one, settings.tls))
    except OSError as error:
        raise ConfigError(
            "http-address",
            f"cannot serve at {settings.host}:{settings.port}: {error.strerror or error}",
            "choose another port, or 0 for any",
        ) from None
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    listening(f"http{'s' * (settings.tls is not None)}://{host}:{port}/")
    await serve_http(door.app, listeners, LIMITS, door.origin)


def _secured(
    listener: trio.SocketListener, tls: ServerTls | None
) -> trio.abc.Listener[trio.abc.Stream]:
    if tls is None:
        return listener
    return trio.SSLListener(listener, tls.context, https_compatible=True)
