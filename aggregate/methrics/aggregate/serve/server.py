"""Serves the live endpoint of a running aggregator over HTTP, until cancelled."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio

from methrics.aggregate.collect.figures import Figures
from methrics.aggregate.collect.freshness import Freshness
from methrics.aggregate.read.live_file import LiveFile, remove_live_file, write_live_file
from methrics.aggregate.serve.app import Endpoint
from methrics.aggregate.serve.settings import ServeSettings
from methrics.aggregate.serve.workers import Workers
from methrics.node.clock import system_entropy
from methrics.node.http.server import serve_http
from methrics.schema.errors import ConfigError

OPEN_WARNING = (
    "other machines can reach the live endpoint: anyone there can ask it, and nothing is encrypted"
)


async def serve(
    path: Path,
    directory: Path,
    settings: ServeSettings,
    figures: Figures,
    freshness: Freshness,
    listening: Callable[[str, str], None],
) -> None:
    """Serve the Parquet in `directory` and the state of an aggregator, until cancelled.

    `listening` is called with the address, such as `http://127.0.0.1:8417`, and with a warning if
    other machines can reach it. Meanwhile the live file beside `path` names the address: `path` is
    the aggregator's file, even while it writes a side file. Raises ConfigError `http-address` if
    the port is taken.
    """
    instance = system_entropy(16).hex()
    workers = Workers(directory, settings.limits)
    endpoint = Endpoint(figures, freshness, workers, settings.limits, instance, settings.names)
    try:
        async with trio.open_nursery() as nursery:
            listeners = await _listen(settings)
            nursery.start_soon(workers.tend)
            nursery.start_soon(serve_http, endpoint.app, listeners)
            address = _address(listeners[0])
            with suppress(OSError):  # a full disk: those who know the address can still ask
                write_live_file(path, LiveFile(address, instance, os.getpid()))
            listening(address, "" if settings.names else OPEN_WARNING)
    finally:
        with suppress(OSError):
            remove_live_file(path, instance)


async def _listen(settings: ServeSettings) -> list[trio.SocketListener]:
    try:
        return list(await trio.open_tcp_listeners(settings.port, host=settings.host))
    except OSError as error:
        raise ConfigError(
            "http-address",
            f"cannot serve at {settings.host}:{settings.port}: {error.strerror or error}",
            "choose another port, or 0 for any",
        ) from None


def _address(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
