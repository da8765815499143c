"""Starting the publisher: only when something is due, one at a time, without delaying the app."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from methrics.node.process.lock import FileLock
from methrics.node.publish import child, spawn

if TYPE_CHECKING:
    from conftest import Shop

RELAY = "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWOne"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that would have been started; no process is."""
    seen: list[list[str]] = []
    monkeypatch.setattr(spawn, "_started", {})
    monkeypatch.setattr(spawn, "start", lambda argv, _wait: seen.append(argv))
    return seen


def join_helpers() -> None:
    for thread in threading.enumerate():
        if thread.name == "methrics-nudge":
            thread.join()


def test_a_publisher_is_started_when_something_is_due(app: Shop, started: list[list[str]]) -> None:
    app.allow()
    recorder = app.open(publisher="process", relays=[RELAY])
    assert recorder.record("view", color="red")
    join_helpers()
    assert started == []
    app.clock.advance(3600)
    assert recorder.record("view", color="red")
    join_helpers()
    [argv] = started
    assert argv[0] == sys.executable
    assert child.MARKER in argv
    ours = ["--home", app.paths.home, "--app", app.namespace]
    assert argv[-6:] == [*ours, "--default-relay", RELAY]
    app.clock.advance(5)
    recorder.close()
    assert len(started) == 1, "the one just started needs time to take its lock"


def test_none_is_started_while_one_runs(app: Shop, started: list[list[str]]) -> None:
    app.allow()
    recorder = app.open(publisher="process", relays=[RELAY])
    assert recorder.record("view", color="red")
    join_helpers()
    app.clock.advance(3600)
    with FileLock(app.paths.publisher_lock(app.namespace)):
        recorder.close()
    assert started == []


@pytest.mark.shows("KPI-15")
def test_one_is_started_on_close(app: Shop, started: list[list[str]]) -> None:
    app.allow()
    recorder = app.open(publisher="process", relays=[RELAY])
    assert recorder.record("view", color="red")
    join_helpers()
    app.clock.advance(3600)
    recorder.close()
    assert len(started) == 1


def test_none_is_started_if_the_app_publishes_itself(app: Shop, started: list[list[str]]) -> None:
    app.allow()
    recorder = app.open(publisher="none")
    assert recorder.record("view", color="red")
    join_helpers()
    app.clock.advance(3600)
    assert recorder.record("view", color="red")
    recorder.close()
    assert started == []


def test_none_is_started_if_no_relay_is_known(
    app: Shop, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.allow()
    recorder = app.open(publisher="process")
    assert recorder.record("view", color="red")
    join_helpers()
    app.clock.advance(3600)
    recorder.close()
    assert started == []
    monkeypatch.setenv("METHRICS_RELAYS", RELAY)
    other = app.open(publisher="process")
    assert other.record("view", color="red")
    join_helpers()
    assert len(started) == 1
    other.close()


@pytest.mark.parametrize("error", [OSError("no more processes"), RuntimeError("no more memory")])
@pytest.mark.parametrize("inline", [True, False])
def test_failures_are_silent(
    app: Shop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    inline: bool,
) -> None:
    tried: list[list[str]] = []

    def refuse(argv: list[str], _wait: float) -> None:
        tried.append(argv)
        raise error

    monkeypatch.setattr(spawn, "_started", {})
    monkeypatch.setattr(spawn, "start", refuse)
    spawn.nudge(app.paths, "shop-x", app.clock, (RELAY,), inline=inline)
    join_helpers()
    assert len(tried) == 1
    assert capsys.readouterr() == ("", "")


def test_an_app_that_exits_while_its_thread_looks_starts_one_publisher(
    app: Shop, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.allow()
    recorder = app.open(publisher="none")
    assert recorder.record("view", color="red")
    recorder.close()
    app.clock.advance(3600)
    looking, go_on = threading.Event(), threading.Event()
    wanted = spawn.wanted

    def slow(*arguments: object) -> bool:
        looking.set()
        go_on.wait(60)
        return wanted(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(spawn, "wanted", slow)
    spawn.nudge(app.paths, app.namespace, app.clock, (RELAY,), inline=False)
    assert looking.wait(60)
    threading.Timer(0.02, go_on.set).start()
    spawn.nudge(app.paths, app.namespace, app.clock, (RELAY,), inline=True)
    join_helpers()
    assert len(started) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_while_a_thread_looks_can_look() -> None:
    with spawn._lock[0]:
        child = os.fork()
        if child == 0:
            os._exit(0 if spawn._lock[0].acquire(timeout=60) else 1)
        assert os.waitpid(child, 0)[1] == 0
