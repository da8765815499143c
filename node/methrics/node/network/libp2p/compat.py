"""Makes libp2p importable and quiet, and keeps it off the app's random numbers.

This module is imported before any module of libp2p.

fastecdsa: libp2p imports it, but uses it only for secio and P-256 host keys, and this package
offers neither. It is published as source only, so it is missing on machines without a compiler and
GMP. On these machines a stand-in makes the imports succeed; calling the stand-in raises
NotImplementedError.

Logging: libp2p's `swarm_connection` calls the functions of the `logging` module itself. That
installs a stderr handler on the root logger of the app, and the records contain addresses of peers.
So here that module gets a logger of its own. The records of the loggers of libp2p and multiaddr
also contain addresses, so these loggers get a NullHandler and do not propagate.

Randomness: modules of libp2p draw delays and peers from the app's generator, `random.random` and
its kin. Here these modules get a generator of their own, so an app that publishes in its own
process keeps its stream, and an app's `random.seed` decides nothing here. The import of libp2p
also imports `rich`, if it is installed, which draws one number; it gets that from the same place.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import random
import sys
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing_extensions import override as override
else:
    M = TypeVar("M")

    def override(method: M) -> M:
        """`typing.override`, which Python 3.11 lacks."""
        method.__override__ = True
        return method


_STANDINS: dict[str, tuple[str, ...]] = {
    "fastecdsa": (),
    "fastecdsa.curve": ("Curve", "P256"),
    "fastecdsa.keys": ("gen_private_key", "get_public_key", "export_key", "import_key"),
    "fastecdsa.point": ("Point",),
    "fastecdsa.encoding": (),
    "fastecdsa.encoding.sec1": ("SEC1Encoder",),
    "fastecdsa.encoding.util": ("int_bytelen",),
}


class _Absent:
    """Takes the place of a name of fastecdsa; any use raises NotImplementedError."""

    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError("P-256 keys need the fastecdsa package, which is not installed")


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def stand_in_for_fastecdsa() -> bool:
    """Install the stand-in if fastecdsa cannot be imported; return whether it was installed."""
    if _importable("fastecdsa.curve"):
        return False
    for name, members in _STANDINS.items():
        module = ModuleType(name)
        module.__path__ = []
        for member in members:
            setattr(module, member, _Absent)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    return True


def quiet_libp2p() -> None:
    """Keep the log records of libp2p off stderr and off the root logger."""
    module = importlib.import_module("libp2p.network.connection.swarm_connection")
    module.__dict__["logging"] = logging.getLogger(module.__name__)
    for name in ("libp2p", "multiaddr"):  # after the import, which clears libp2p's handlers
        logger = logging.getLogger(name)
        logger.propagate = False
        if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            logger.addHandler(logging.NullHandler())


_DRAWING = ("libp2p.network.swarm", "libp2p.pubsub.gossipsub", "libp2p.pubsub.pubsub")
"""The modules of libp2p in use here that draw random numbers."""


def import_rich() -> None:
    """Import `rich.style`, if it is installed, without a draw from the app's generator."""
    if "rich.style" in sys.modules:
        return
    apps = random.getrandbits
    random.getrandbits = random.SystemRandom().getrandbits
    try:
        _importable("rich.style")
    finally:
        random.getrandbits = apps


def own_randomness() -> None:
    """Make libp2p draw from the operating system instead of the app's generator."""
    for name in _DRAWING:
        importlib.import_module(name).__dict__["random"] = random.SystemRandom()


stand_in_for_fastecdsa()
import_rich()
quiet_libp2p()
own_randomness()
