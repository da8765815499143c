"""Closes SQLite connections before a fork.

A child that inherits a connection also inherits SQLite's record of locks that the child does not
own. Once the parent exits, a third process may truncate the shared memory that the child still
maps. So every connection is closed before a fork, while its lock is held, and parent and child open
it again on next use.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """An object that takes part in forks, such as `database.Database`.

    `before_fork` takes its lock and closes it; False if the lock was not free within `patience`
    seconds. `after_fork` frees the lock, in parent and child. `abandon` replaces it in a child
    whose parent did not get the lock; the returned object is kept alive, so that it is never
    closed."""

    def before_fork(self, patience: float) -> bool: ...
    def after_fork(self) -> None: ...
    def abandon(self) -> object: ...


PATIENCE = 1.0
"""Seconds that a fork waits for a call in another thread; such calls take microseconds."""

_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()
_closed: list[Forkable] = []
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
    _closed.extend(thing for thing in list(_watched) if thing.before_fork(PATIENCE))


def _after_in_parent() -> None:
    for thing in _closed:
        thing.after_fork()
    _closed.clear()


def _after_in_child() -> None:
    closed = set(map(id, _closed))
    _after_in_parent()
    _abandoned.extend(thing.abandon() for thing in list(_watched) if id(thing) not in closed)
