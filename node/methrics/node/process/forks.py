"""No SQLite connection crosses a fork.

A child that inherits one also inherits SQLite's belief about locks that it does not own: once the
parent exits, a third process may truncate the shared memory that the child still maps. So every
connection is closed before a fork, with its lock held, and opened again on next use by each side.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that must be closed around a fork; see `database.Database`."""

    def before_fork(self, patience: float) -> bool: ...
    def after_fork(self) -> None: ...
    def abandon(self) -> object: ...


PATIENCE = 1.0
"""Seconds a fork waits for a call in another thread; such calls take microseconds."""

_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()
_held: list[Forkable] = []
_abandoned: list[object] = []
_installed: list[bool] = []


def watch(thing: Forkable) -> None:
    """Closes `thing` around every later fork of this process."""
    _watched.add(thing)
    if not _installed and hasattr(os, "register_at_fork"):
        _installed.append(True)
        os.register_at_fork(
            before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
        )


def _before() -> None:
    _held.extend(thing for thing in list(_watched) if thing.before_fork(PATIENCE))


def _after_in_parent() -> None:
    for thing in _held:
        thing.after_fork()
    _held.clear()


def _after_in_child() -> None:
    held = set(map(id, _held))
    _after_in_parent()
    _abandoned.extend(thing.abandon() for thing in list(_watched) if id(thing) not in held)
