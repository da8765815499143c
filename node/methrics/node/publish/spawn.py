"""Starts the publisher as a process, if a report is due and no publisher runs.

`methrics.node.publish.child` tells how the process is started, so that it outlives the app and is
none of the app's children.
"""

from __future__ import annotations

import os
import threading
from functools import partial

from methrics.node.clock import Clock
from methrics.node.paths import Paths
from methrics.node.process.lock import is_held
from methrics.node.publish.child import WAIT, command, reachable, start
from methrics.node.publish.timer import TIMER, wait_until_due
from methrics.node.spool.folder import read_due, spool_folder

PAUSE = 30.0
"""Seconds after a start in which this process starts no other publisher, so that the first one has
time to acquire its lock."""

HELPER = "methrics-nudge"
"""Name of the threads that check whether a publisher is needed."""

EXIT_WAIT = 1.0
"""Most seconds for which an exiting app waits for the shell that starts the publisher, which takes
milliseconds."""

LOOK_PATIENCE = 0.2
"""Most seconds for which an exiting app waits for a helper thread that checks at the same time,
which takes milliseconds."""

_started: dict[str, float] = {}
_closed: set[str] = set()
"""Paths of the outboxes that the app has closed, for which no timer may be set."""
_lock = [threading.Lock()]


def nudge(
    paths: Paths, namespace: str, clock: Clock, relays: tuple[str, ...], *, inline: bool
) -> None:
    """Start a publisher if a report is due, a relay is known, and no publisher runs. Never raises.

    `relays`: the app's relays, used if the user names none. `inline`: check in this thread, for an
    app that is exiting; otherwise a short-lived daemon thread checks, and sets the timer for the
    time at which the next report is due.
    """
    path = paths.outbox(namespace)
    if inline:
        _closed.add(path)
        TIMER.unset(path)
        _look(paths, namespace, clock, relays, False)
        return
    _closed.discard(path)
    thread = threading.Thread(
        target=_tend,
        args=(paths, namespace, clock, relays, 0),
        name=HELPER,
        daemon=True,
    )
    try:
        thread.start()
    except RuntimeError:  # no more threads, or the interpreter is shutting down
        return


def wanted(paths: Paths, namespace: str, clock: Clock, relays: tuple[str, ...] = ()) -> bool:
    """Whether a row or report is due, a relay is known, and no publisher runs.

    Raises ConfigError if the address of a relay or peer is not valid."""
    now = clock.now()
    due = read_due(spool_folder(paths.outbox(namespace)), now)
    if due is None or due > now:
        return False
    from methrics.node.publish.entry import entry_peers

    if not reachable(entry_peers(paths, default_relays=relays).relays):
        return False
    return not is_held(paths.publisher_lock(namespace))


def _tend(
    paths: Paths, namespace: str, clock: Clock, relays: tuple[str, ...], failures: int
) -> None:
    """Start a publisher if one is needed, and do so again when the next report is due, so that
    the reports of an idle server leave too."""
    path = paths.outbox(namespace)
    if path in _closed:
        return
    _look(paths, namespace, clock, relays, True)
    try:
        now = clock.now()
        due = read_due(spool_folder(path), now)
    except Exception:  # noqa: BLE001 - as in _look
        return
    wait = wait_until_due(due, now, failures)
    if wait is not None and path not in _closed:
        more = failures + 1 if due is not None and due <= now else 0
        TIMER.set(path, wait, partial(_tend, paths, namespace, clock, relays, more))


def _look(
    paths: Paths,
    namespace: str,
    clock: Clock,
    relays: tuple[str, ...],
    in_thread: bool,
) -> None:
    # An app may exit while its helper thread checks: one of the two threads starts the publisher,
    # and the other then finds in `_started` that it was started.
    lock = _lock[0]
    if not lock.acquire(timeout=LOOK_PATIENCE):
        return
    try:
        argv = _argv_if_wanted(paths, namespace, clock, relays)
        if argv is not None:
            start(argv, WAIT if in_thread else EXIT_WAIT)
    except Exception:  # noqa: BLE001 - the edge to the app, whose standard error is not ours
        return  # the reports stay in the outbox, and the next nudge tries again
    finally:
        lock.release()


def _argv_if_wanted(
    paths: Paths, namespace: str, clock: Clock, relays: tuple[str, ...]
) -> list[str] | None:
    now, path = clock.monotonic(), paths.outbox(namespace)
    started = _started.get(path)
    if started is not None and now - started < PAUSE:
        return None
    argv = command(paths, namespace, relays)
    if argv is None or not wanted(paths, namespace, clock, relays):
        return None
    _started[path] = now
    return argv


def _renew_lock() -> None:
    """Replace the lock after a fork: a thread that does not exist in the child may hold it."""
    _lock[0] = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
