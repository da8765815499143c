"""The timer of an app that records nothing more: one thread, which ends when nothing waits."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from methrics.node.clock import ManualClock
from methrics.node.publish import spawn
from methrics.node.publish.timer import (
    LEAST,
    MOST,
    NAME,
    STILL_DUE,
    TIMER,
    Timer,
    wait_until_due,
)

if TYPE_CHECKING:
    from conftest import Shop

RELAY = "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWOne"
NOW = 1_800_000_000


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def join_threads(*names: str) -> None:
    for thread in threading.enumerate():
        if thread.name in names:
            thread.join(60)


@pytest.fixture(autouse=True)
def nothing_waits() -> None:
    join_threads(spawn.HELPER)
    for key in list(TIMER._waiting):  # of recorders that other tests did not close
        TIMER.unset(key)
    join_threads(NAME)


def test_the_next_check_is_within_its_bounds() -> None:
    assert wait_until_due(None, NOW, 0) is None
    assert wait_until_due(NOW + 1, NOW, 0) == LEAST
    assert wait_until_due(NOW + 400, NOW, 0) == 400
    assert wait_until_due(NOW + 10**9, NOW, 0) == MOST
    assert [wait_until_due(NOW, NOW, n) for n in (0, 1)] == [STILL_DUE.least, 2 * STILL_DUE.least]
    assert wait_until_due(NOW - 10**6, NOW, 99) == STILL_DUE.most


def test_functions_are_called_in_the_order_of_their_times_and_the_thread_ends() -> None:
    clock = ManualClock()
    timer, called, done = Timer(clock), list[str](), threading.Event()
    hold = threading.Event()
    timer.set("hold", 0, lambda: hold.wait(60))
    timer.set("last", 3, done.set)
    timer.set("second", 2, lambda: called.append("second"))
    timer.set("first", 3600, lambda: called.append("never"))
    timer.set("first", 1, lambda: called.append("first"))
    timer.set("gone", 1, lambda: called.append("gone"))
    timer.unset("gone")
    clock.advance(3)
    hold.set()
    assert done.wait(60)
    assert called == ["first", "second"]
    join_threads(NAME)
    assert threads() == []
    again = threading.Event()
    timer.set("again", 0, again.set)
    assert again.wait(60), "a new thread is started"


def test_an_error_does_not_end_the_timer() -> None:
    timer, done = Timer(), threading.Event()
    timer.set("bad", 0, lambda: 1 // 0)
    timer.set("good", 0.01, done.set)
    assert done.wait(60)


def test_a_sooner_time_wakes_the_thread() -> None:
    timer, done = Timer(), threading.Event()
    timer.set("late", 3600, lambda: None)
    timer.set("soon", 0, done.set)
    assert done.wait(60)
    assert all(thread.daemon for thread in threads())
    timer.unset("late")
    join_threads(NAME)
    assert threads() == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_no_timer_until_it_sets_one() -> None:
    TIMER.set("parent", 3600, lambda: None)
    with TIMER._changed:
        child = os.fork()
        if child == 0:
            done = threading.Event()
            clean = not TIMER._waiting and not TIMER._running
            TIMER.set("child", 0, done.set)
            os._exit(0 if clean and done.wait(60) else 1)
        assert os.waitpid(child, 0)[1] == 0
    TIMER.unset("parent")


def test_an_idle_app_starts_a_publisher_when_its_report_is_due(
    app: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[list[str]]()
    timed = dict[str, tuple[float, object]]()
    monkeypatch.setattr(spawn, "_started", {})
    monkeypatch.setattr(spawn, "start", lambda argv, _wait: started.append(argv))
    monkeypatch.setattr(TIMER, "set", lambda key, wait, act: timed.update({key: (wait, act)}))
    app.allow()
    recorder = app.open(publisher="process", relays=[RELAY])
    assert recorder.record("view", color="red")
    join_threads(spawn.HELPER)
    assert started == []
    ((wait, act),) = timed.values()
    assert LEAST <= wait <= MOST
    app.clock.advance(3600)  # and the app records nothing
    assert callable(act)
    act()
    assert len(started) == 1
    assert [wait for wait, _ in timed.values()] == [STILL_DUE.least]
    recorder.close()
    timed.clear()
    act()
    assert timed == {}, "a closed outbox is not opened again"


def test_without_consent_there_is_no_thread(app: Shop) -> None:
    recorder = app.open(publisher="process", relays=[RELAY])
    assert not recorder.record("view", color="red")
    assert threads() == []
    recorder.close()
