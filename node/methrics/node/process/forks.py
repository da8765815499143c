"""Closes SQLite connections before a fork.

A forked child that inherits a connection also inherits SQLite's record of locks, which the child
does not own. When the parent has exited, a third process may truncate the shared memory that the
child still maps. So every connection is closed before a fork, while its thread lock is held, and
parent and child open it again when they next use it.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """An object that must be prepared for a fork, such as `database.Database`.

    `before_fork` acquires the object's lock and closes the object; it returns False if the lock was
    not free within `patience` seconds. `after_fork` releases the lock, in parent and child. If
    `before_fork` returned False, `abandon` is called in the child instead: it replaces the lock and
    returns what must never be closed there, such as a connection; that is kept alive.
    """

    def before_fork(self, patience: float) -> bool: ...
    def after_fork(self) -> None: ...
    def abandon(self) -> object: ...


PATIENCE = 1.0
"""Most seconds for which a fork waits for a call in another thread, which takes microseconds."""

_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()
_closed: list[Forkable] = []
_abandoned: list[object] = []
_installed: list[bool] = []


def watch(thing: Forkable) -> None:
    """Prepares `thing` for every later fork of this process."""
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
