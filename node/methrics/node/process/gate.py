"""A lock that a fork waits for."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

PATIENCE = 1.0
"""Most seconds for which a thread waits for a gate, or a fork for a thread. The app may hold locks
of its own during a fork, and a gate must never make a deadlock with them."""


class Gate:
    """A fork waits until no thread is in `with gate.hold():`, and a thread waits there until a fork
    is over; both for at most PATIENCE seconds. It is reentrant because a signal handler may fork.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._forking: list[bool] = []
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
        self._forking.append(False)
        self._forking[-1] = self._lock.acquire(timeout=PATIENCE)

    def _after(self) -> None:
        if self._forking and self._forking.pop():
            self._lock.release()

    def _after_in_child(self) -> None:
        if self._forking and self._forking.pop():
            self._lock.release()
        else:  # a thread that does not exist in the child holds it
            self._lock = threading.RLock()
