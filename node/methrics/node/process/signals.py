"""Signals that ask a long-running command to stop: Ctrl-C, SIGTERM, and a terminal that closes."""

from __future__ import annotations

import signal
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


async def on_stop_signal(nursery: trio.Nursery, act: Callable[[], object]) -> None:
    """Starts a task in `nursery` that calls `act` at each stop signal. After this returns, a stop
    signal does not end the process by itself, until the nursery is cancelled."""
    await nursery.start(partial(_listen, act))


async def _listen(
    act: Callable[[], object], *, task_status: _Started = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(*stop_signals()) as signals:
        task_status.started()
        async for _ in signals:
            act()
