"""Ports for tests in which something listens again where it did before."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """A port below those that outgoing connections take, so that it stays free meanwhile."""
    rng = random.SystemRandom()
    while True:
        port = rng.randrange(20_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
