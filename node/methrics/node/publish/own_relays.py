"""The relays that the apps in this process gave to `methrics.node.open`, by namespace.

A publisher inside the app uses them like the publisher's process, which gets them as arguments.
"""

from __future__ import annotations

_relays: dict[str, tuple[str, ...]] = {}


def remember_relays(namespace: str, relays: tuple[str, ...]) -> None:
    """Keep the relays of an app. The newest call counts."""
    _relays[namespace] = relays


def own_relays(namespace: str) -> tuple[str, ...]:
    """Return the relays of an app, () if it gave none."""
    return _relays.get(namespace, ())
