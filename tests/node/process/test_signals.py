"""Stop signals: each ends a long-running command in order, unless `nohup` asked it to stay."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import trio

from methrics.node.process.signals import on_stop_signal, stop_signals


@pytest.fixture
def hang_up() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_each_stop_signal_calls_the_function(number: signal.Signals, hang_up: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    called = trio.Event()
    async with trio.open_nursery() as nursery:
        await on_stop_signal(nursery, called.set)
        os.kill(os.getpid(), number)
        with trio.fail_after(60):
            await called.wait()
        nursery.cancel_scope.cancel()
    assert called.is_set()


def test_a_hang_up_that_nohup_ignores_stays_ignored(hang_up: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert stop_signals() == (signal.SIGINT, signal.SIGTERM)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert stop_signals() == (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
