"""Signals that ask a long-running command to stop (Ctrl-C, SIGTERM, a terminal that closes), or to
read its files again (SIGHUP)."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Protocol

import trio


def stop_signals() -> tuple[signal.Signals, ...]:
    """Returns SIGINT, SIGTERM and SIGHUP, without SIGHUP if this process ignores it: `nohup` makes
    commands ignore SIGHUP, so that they outlive their terminal."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return (signal.SIGINT, signal.SIGTERM)
    return (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Started(Protocol):
    """How a task tells `nursery.start` that it is ready."""

    def started(self) -> None: ...


async def on_stop_signal(
    nursery: trio.Nursery,
    act: Callable[[], object],
    reload: Callable[[], object] | None = None,
) -> None:
    """Starts a task in `nursery` that calls `act` at each stop signal. After this returns, a stop
    signal does not end the process by itself, until the nursery is cancelled.

    With `reload`, SIGHUP calls that instead, unless standard input is a terminal: there SIGHUP says
    that the terminal was closed.
    """
    await nursery.start(partial(_listen, act, None if in_a_terminal() else reload))


def in_a_terminal() -> bool:
    """Tells whether standard input is a terminal."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


async def _listen(
    act: Callable[[], object],
    reload: Callable[[], object] | None,
    *,
    task_status: _Started = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(*stop_signals()) as signals:
        task_status.started()
        async for one in signals:
            if one == signal.SIGHUP and reload is not None:
                reload()
            else:
                act()
