"""Makes libp2p importable and quiet; imported before any module of libp2p.

fastecdsa: libp2p imports it, but uses it only for secio and P-256 host keys, and this package
offers neither. It is published as source only, so it is missing on machines without a compiler and
GMP. On these machines a stand-in makes the imports succeed; calling the stand-in raises
NotImplementedError.

Logging: libp2p's `swarm_connection` calls the functions of the `logging` module itself. That
installs a stderr handler on the root logger of the app, and the records contain addresses of peers.
So here that module gets a logger of its own. The records of the loggers of libp2p and multiaddr
also contain addresses, so these loggers get a NullHandler and do not propagate.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
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


stand_in_for_fastecdsa()
quiet_libp2p()
