"""Makes libp2p quiet, and keeps it off the app's random numbers.

This module is imported before any module of libp2p. libp2p is the copy in `methrics._vendor`, which
`tools/vendor.py` writes.

Logging: libp2p's `swarm_connection` calls the functions of the `logging` module itself. That
installs a stderr handler on the root logger of the app, and the records contain addresses of peers.
So here that module gets a logger of its own. The records of the loggers of libp2p and multiaddr
also contain addresses, so these loggers get a NullHandler and do not propagate. The copy's loggers
lie below `methrics`; their own level keeps them silent when an app sets `methrics` to DEBUG.

Randomness: modules of libp2p draw delays and peers from the app's generator, `random.random` and
its kin. Here these modules get a generator of their own, so an app that publishes in its own
process keeps its stream, and an app's `random.seed` decides nothing here.

Negotiation: libp2p reads messages of any length there; here it uses the reader of `negotiation.py`.

Keys: libp2p computes for as long as the RSA key of a stranger wants; here `keys.py` reads it.
"""

from __future__ import annotations

import importlib
import logging
import random
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing_extensions import override as override
else:
    M = TypeVar("M")

    def override(method: M) -> M:
        """`typing.override`, which Python 3.11 lacks."""
        method.__override__ = True
        return method


COPY = "methrics._vendor.libp2p"


def quiet_libp2p() -> None:
    """Keep the log records of libp2p off stderr and off the root logger."""
    module = importlib.import_module(f"{COPY}.network.connection.swarm_connection")
    module.__dict__["logging"] = logging.getLogger(module.__name__)
    logging.getLogger(COPY).setLevel(logging.WARNING)
    for name in (COPY, "multiaddr"):
        logger = logging.getLogger(name)
        logger.propagate = False
        if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            logger.addHandler(logging.NullHandler())


_DRAWING = ("network.auto_connector", "network.swarm")
"""The modules of libp2p that draw random numbers."""


def own_randomness() -> None:
    """Make libp2p draw from the operating system instead of the app's generator."""
    for name in _DRAWING:
        importlib.import_module(f"{COPY}.{name}").__dict__["random"] = random.SystemRandom()


def bound_negotiation() -> None:
    """Make libp2p read messages of a negotiation with a reader that has a limit."""
    read_name = importlib.import_module("methrics.node.network.libp2p.negotiation").read_name

    async def read(self: Any) -> str:
        name: str = await read_name(self.read_writer)
        return name

    stock = importlib.import_module(f"{COPY}.protocol_muxer.multiselect_communicator")
    stock.MultiselectCommunicator.read = read


def bound_keys() -> None:
    """Make libp2p refuse RSA keys that are costly to read or to verify with."""
    read_rsa = importlib.import_module("methrics.node.network.libp2p.keys").read_rsa
    rsa = importlib.import_module(f"{COPY}.crypto.rsa").RSAPublicKey

    def from_bytes(cls: Any, key_bytes: bytes) -> Any:
        return cls(read_rsa(key_bytes))

    rsa.from_bytes = classmethod(from_bytes)
    kinds = importlib.import_module(f"{COPY}.crypto.serialization")
    kinds.key_type_to_public_key_deserializer[kinds.KeyType.RSA.value] = rsa.from_bytes


quiet_libp2p()
own_randomness()
bound_negotiation()
bound_keys()
