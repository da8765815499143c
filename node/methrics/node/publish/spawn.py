"""Starts the publisher as a process, if a report is due and no publisher runs.

The app does not wait for the publisher and is not its parent: an intermediate process forks the
publisher and ends. So the app has no zombie process, and the publisher outlives the app and its
terminal.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from methrics.node.paths import Paths
from methrics.node.process.exits import leaving
from methrics.node.process.lock import is_held

if TYPE_CHECKING:
    from methrics.node.outbox.interfaces import AppOutbox

PAUSE = 30.0
"""Seconds after a start in which this process starts no other publisher, so that the first one has
time to acquire its lock."""

REAP_TIMEOUT = 20.0
"""Most seconds for which a helper thread waits until the intermediate process has ended, which
takes milliseconds."""

HELPER = "methrics-nudge"
"""Name of the threads that check whether a publisher is needed, and of those that wait for the
intermediate process."""

# The intermediate process runs this. Its child leads a new session and becomes the publisher.
_DETACH = "import os,sys\nif os.fork():os._exit(0)\nos.setsid()\nos.execv(sys.argv[1],sys.argv[1:])"

LOOK_PATIENCE = 0.2
"""Most seconds for which an exiting app waits for a helper thread that checks at the same time,
which takes milliseconds."""

_started: dict[str, float] = {}
_lock = [threading.Lock()]


def nudge(
    paths: Paths, namespace: str, outbox: AppOutbox, relays: tuple[str, ...], *, inline: bool
) -> None:
    """Start a publisher if a report is due, a relay is known, and no publisher runs. Never raises.

    `relays`: the app's relays, used if the user names none. `inline`: check in this thread, for an
    app that is exiting; otherwise a short-lived daemon thread checks.
    """
    if inline:
        _look(paths, namespace, outbox, relays, False)
        return
    thread = threading.Thread(
        target=_look,
        args=(paths, namespace, outbox, relays, True),
        name=HELPER,
        daemon=True,
    )
    try:
        thread.start()
    except RuntimeError:  # no more threads, or the interpreter is shutting down
        return


def wanted(paths: Paths, namespace: str, outbox: AppOutbox, relays: tuple[str, ...] = ()) -> bool:
    """Whether a row or report is due, a relay is known, and no publisher runs.

    Raises StoreError, and ConfigError if the address of a relay or peer is not valid."""
    due = outbox.next_due()
    if due is None or due > outbox.clock.now():
        return False
    from methrics.node.publish.entry import entry_peers

    if not entry_peers(paths, default_relays=relays).relays:
        return False
    return not is_held(paths.publisher_lock(namespace))


def command(paths: Paths, namespace: str, relays: tuple[str, ...] = ()) -> list[str] | None:
    """Return the command line of the publisher, or None if `sys.executable` is not Python, as in a
    frozen app or an embedding server."""
    python = sys.executable
    if not python or getattr(sys, "frozen", False):
        return None
    if not os.path.basename(python).lower().startswith(("python", "pypy")):
        return None
    home = [] if paths.home is None else ["--home", paths.home]
    entry = [part for relay in relays for part in ("--default-relay", relay)]
    module = ["-m", "methrics.node.publisher"]
    return [python, "-P", *module, *home, "--namespace", namespace, *entry]


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    """Start `argv` as a detached process without standard streams. Raises OSError if that fails.

    Returns the intermediate process, for which `_reap` or `_leave` must be called."""
    null = subprocess.DEVNULL
    detached = [argv[0], "-I", "-S", "-c", _DETACH, *argv]
    return subprocess.Popen(detached, stdin=null, stdout=null, stderr=null, cwd=os.sep)


def _leave(process: subprocess.Popen[bytes]) -> None:
    """Start a thread that waits for the intermediate process. If the app is exiting, mark the
    process as waited for instead, because Python would print a warning on standard error."""
    if not leaving():
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=_reap, args=(process,), name=HELPER, daemon=True).start()
            return
    process.returncode = 0


def _reap(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.SubprocessError):
        process.wait(REAP_TIMEOUT)


def _look(
    paths: Paths,
    namespace: str,
    outbox: AppOutbox,
    relays: tuple[str, ...],
    reap: bool,
) -> None:
    # An app may exit while its helper thread checks: one of the two threads starts the publisher,
    # and the other then finds in `_started` that it was started.
    lock = _lock[0]
    if not lock.acquire(timeout=LOOK_PATIENCE):
        return
    try:
        process = _start_if_wanted(paths, namespace, outbox, relays)
    except Exception:  # noqa: BLE001 - the edge to the app, whose standard error is not ours
        return  # the reports stay in the outbox, and the next nudge tries again
    finally:
        lock.release()
    if process is not None:
        (_reap if reap else _leave)(process)


def _start_if_wanted(
    paths: Paths, namespace: str, outbox: AppOutbox, relays: tuple[str, ...]
) -> subprocess.Popen[bytes] | None:
    now = outbox.clock.monotonic()
    started = _started.get(outbox.path)
    if started is not None and now - started < PAUSE:
        return None
    argv = command(paths, namespace, relays)
    if argv is None or not wanted(paths, namespace, outbox, relays):
        return None
    _started[outbox.path] = now
    return start(argv)


def _renew_lock() -> None:
    """Replace the lock after a fork: a thread that does not exist in the child may hold it."""
    _lock[0] = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
