"""What runs beside and inside an app: consent, recorder, outbox, publisher, routes, relay, swarm.

An app needs `open` and what it returns. Names are loaded when they are first used (PEP 562), so
that importing this package costs an app next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methrics.node.record.opening import open
    from methrics.node.record.recorder import Recorder, Statistics
    from methrics.node.record.sequences import Sequence

__all__ = ["Recorder", "Sequence", "Statistics", "open"]

_HOMES = {
    "Recorder": "methrics.node.record.recorder",
    "Sequence": "methrics.node.record.sequences",
    "Statistics": "methrics.node.record.recorder",
    "open": "methrics.node.record.opening",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
