"""Signal handlers that raise or record within a call: the app gets its error, no True is lost."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from methrics.node.outbox.journal import Journal
from methrics.node.spool.files import SpoolFiles

if TYPE_CHECKING:
    from conftest import Shop

pytestmark = [pytest.mark.wire, pytest.mark.slow]

HITS = 1500
LATER = 1 << 40


class LimitError(Exception):
    """The error by which an app limits the time of its own work."""


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[..., None]], None]]:
    before = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Calls:
    """Calls of a recorder, and what was promised: the least and the most that may be stored."""

    def __init__(self, app: Shop) -> None:
        self.app = app
        self.recorder = app.open()
        self.tried: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()

    def one(self, name: str) -> None:
        self.tried[name] += 1
        if name == "view":
            kept = self.recorder.record("view", size=1)
        elif name == "click":
            kept = self.recorder.count("click", color="red")
        elif name == "visit":
            kept = self.recorder.record("visit", color="red")
        else:
            with self.recorder.sequence("buy") as sequence:
                sequence.step("shown")
            return
        self.kept[name] += kept

    def check(self) -> None:
        journal = Journal(self.app.paths.outbox(self.app.namespace), rows_max=1 << 30)
        rows = journal.pending(LATER, limit=1 << 30).rows
        journal.close()
        found = Counter[str]()
        for row in rows:
            found[row.type] += row.total if row.table == "counter" else 1
        for name in ("view", "click"):
            assert self.kept[name] <= found[name] <= self.tried[name], name
        assert found["visit"] <= 1
        assert found["buy"] <= self.tried["buy"]


def is_finalizer(function: object) -> bool:
    """Whether Python called it by itself, and so ignored its error: the finalizer of our files, or
    a callback of the garbage collector, of a weak reference or of another library."""
    module = getattr(function, "__module__", None) or ""
    return function == SpoolFiles.__del__ or not module.startswith("methrics")


@pytest.mark.parametrize("error", [KeyboardInterrupt, LimitError, TimeoutError])
def test_an_error_of_a_signal_handler_reaches_the_app(
    app: Shop,
    alarm: Callable[[Callable[..., None]], None],
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    app.allow()
    swallowed = list[object]()  # Python itself ignores errors in finalizers
    monkeypatch.setattr(sys, "unraisablehook", lambda it: swallowed.append(it.object))
    calls, rng = Calls(app), random.Random(5)
    inside = [False]

    def stop(*_: object) -> None:
        assert inside[0]
        inside[0] = False
        raise error

    alarm(stop)
    names = ("view", "click", "visit", "buy")
    for name in names:
        calls.one(name)
    hits = 0
    while hits < HITS:
        reached = False
        try:
            inside[0] = True
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 3e-4))
            begun = time.monotonic()
            while inside[0] and time.monotonic() < begun + 5:
                calls.one(rng.choice(names))
        except error:
            reached = True
        finalized = len(swallowed) == 1 and is_finalizer(swallowed.pop())
        assert reached or finalized, (
            f"{error.__name__} did not reach the app, after {hits} that did: {swallowed}"
        )
        hits += 1
        if hits % 50 == 0:
            app.clock.advance(2)
        if hits % 400 == 0:
            calls.recorder._spool and calls.recorder._spool.leave()
        assert calls.recorder.record("view", size=1), calls.recorder.statistics()
        calls.tried["view"] += 1
        calls.kept["view"] += 1
    calls.recorder.close()
    calls.check()


def test_a_signal_handler_may_record(
    app: Shop, alarm: Callable[[Callable[..., None]], None]
) -> None:
    app.allow()
    calls, rng = Calls(app), random.Random(6)
    within = [0]

    def record(*_: object) -> None:
        within[0] += 1
        calls.one(rng.choice(("view", "click")))
        calls.recorder.record("unknown")
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(2e-5, 3e-4))

    alarm(record)
    signal.setitimer(signal.ITIMER_REAL, 1e-4)
    end = time.monotonic() + 60
    turn = 0
    while within[0] < HITS and time.monotonic() < end:
        turn += 1
        for name in ("view", "click", "visit"):
            calls.one(name)
        calls.recorder.record("view", undeclared=1)
        if turn % 200 == 0:
            app.clock.advance(2)
            calls.recorder._spool and calls.recorder._spool.leave()
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert within[0] >= HITS
    dropped = calls.recorder.statistics().dropped
    assert dropped.keys() == {"unknown-type", "wrong-value"}
    assert calls.kept == calls.tried
    calls.recorder.close()
    calls.check()
