"""What runs beside and inside an app: consent, recorder, outbox, publisher, relay.

An app needs `open` and the recorder that it returns; `Asking` and `Mine` are what the recorder's
`asking()` and `mine()` return, and these two raise `LocalError`. Three other parts are public:
`methrics.node.publisher` (for apps that publish themselves), `methrics.node.bridges.mixpanel` and
`.otel` (for apps that keep the calls of another library), and `methrics.node.testing` (a network in
memory).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from methrics.schema.lazy import front

if TYPE_CHECKING:
    from methrics.node.consent.asking import Asking
    from methrics.node.mine.mine import Mine
    from methrics.node.paths import user_paths
    from methrics.node.record.interface import Statistics
    from methrics.node.record.opening import open
    from methrics.node.record.recorder import Recorder
    from methrics.node.record.sequences import Sequence
    from methrics.schema.errors import LocalError

__all__ = [
    "Asking",
    "LocalError",
    "Mine",
    "Recorder",
    "Sequence",
    "Statistics",
    "open",
    "user_paths",
]

__getattr__, __dir__ = front(
    __name__,
    {
        "Asking": "methrics.node.consent.asking",
        "LocalError": "methrics.schema.errors",
        "Mine": "methrics.node.mine.mine",
        "Recorder": "methrics.node.record.recorder",
        "Sequence": "methrics.node.record.sequences",
        "Statistics": "methrics.node.record.interface",
        "open": "methrics.node.record.opening",
        "user_paths": "methrics.node.paths",
    },
)
