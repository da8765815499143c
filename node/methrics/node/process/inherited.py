"""Closes the descriptors that a forked child would share with its parent.

A lock (flock) belongs to the open file, so a child that inherits its descriptor would hold the lock
after the parent has ended.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import Protocol

from methrics.node.process.gate import Gate


class Closable(Protocol):
    """An object with descriptors. A forked child calls `close_inherited`."""

    def close_inherited(self) -> None: ...


opening = Gate()
"""To be held from before a descriptor is opened until its object is given to `watch`, and while it
is closed. A finalizer cannot wait for it, and releases the lock before it closes the descriptor."""

_watched: weakref.WeakSet[Closable] = weakref.WeakSet()


def watch(thing: Closable) -> None:
    """Closes the descriptors of `thing` in every child that is forked later. `thing` is kept by a
    weak reference, so it may also be used by nothing but a call in another thread."""
    _watched.add(thing)


def _close_in_child() -> None:
    for thing in list(_watched):
        with contextlib.suppress(OSError):
            thing.close_inherited()


os.register_at_fork(after_in_child=_close_in_child)
