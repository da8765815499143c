"""A lock that a fork waits for."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

PATIENCE, FORK_PATIENCE = 1.0, 10.0
"""Most seconds for which a thread waits for a gate, and a fork for a thread. The app may have locks
of its own, also during a fork, and a gate must never make a deadlock with them."""


class Gate:
    """A fork waits until no thread is in `with gate.hold():`, for at most FORK_PATIENCE seconds. A
    thread waits there until no other thread is, and no fork, for at most PATIENCE seconds. It is
    reentrant because a signal handler may fork.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._forking: dict[int, list[bool]] = {}
        os.register_at_fork(
            before=self._before, after_in_parent=self._after, after_in_child=self._after_in_child
        )

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        lock, held = self._lock, False
        try:
            held = lock.acquire(timeout=PATIENCE)
            yield
        finally:
            if held:
                lock.release()

    def _before(self) -> None:
        held = self._lock.acquire(timeout=FORK_PATIENCE)
        self._forking.setdefault(threading.get_ident(), []).append(held)

    def _after(self) -> bool:
        forks = self._forking.get(threading.get_ident())
        held = bool(forks and forks.pop())
        if not forks:
            self._forking.pop(threading.get_ident(), None)
        if held:
            self._lock.release()
        return held

    def _after_in_child(self) -> None:
        if not self._after():  # a thread that does not exist in the child holds it
            self._lock = threading.RLock()
