"""Faults of a machine: the app gets no error, and lost events are counted."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from methrics.node.clock import Clock
from methrics.node.outbox.journal import Journal
from methrics.node.process import exits
from methrics.schema.errors import StoreError

if TYPE_CHECKING:
    from conftest import Shop

LATER = 1 << 40


@pytest.fixture(autouse=True)
def quiet() -> None:
    exits._state["warned"] = False


@pytest.fixture
def no_room() -> Iterator[None]:
    """Files can not grow past 20 kB in this process, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.shows("DEB-4")
def test_full_disk(app: Shop, no_room: None, caplog: pytest.LogCaptureFixture) -> None:
    app.allow()
    with caplog.at_level(logging.DEBUG):
        results = [app.recorder.record("view", size=i) for i in range(600)]
    assert not results[-1]
    assert sum(app.recorder.statistics().dropped.values()) == results.count(False)
    assert set(app.recorder.statistics().dropped) <= {"outbox-full", "outbox-disk"}
    assert len(caplog.records) == 1, "one line, however much is lost"


def test_full_spools(app: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methrics.node.spool.spool.FILE_MAX", 4000)
    monkeypatch.setattr("methrics.node.spool.spool.FOLDER_MAX", 20_000)
    app.allow()
    recorder = app.open()
    results = [recorder.record("view", size=i) for i in range(1000)]
    assert not results[-1]
    assert recorder.statistics().dropped == {"outbox-full": results.count(False)}
    rows = app.journal.pending(LATER, limit=9999).rows
    assert len(rows) == results.count(True)
    app.clock.advance(2)
    assert recorder.record("view", size=1), "what was full has been taken over"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_read_only_folder(app: Shop, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    app.allow()

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "makedirs", refuse)  # root may write anywhere, so permissions won't do
        assert [app.recorder.record("view", size=1) for _ in range(3)] == [False] * 3
        assert app.recorder.statistics().dropped == {"outbox-read-only": 3}
    app.clock.advance(2)
    assert app.open().record("view", size=1)


def test_a_file_where_the_folder_should_be(app: Shop) -> None:
    app.allow()
    folder = Path(app.paths.namespace(app.namespace))
    folder.write_text("in the way")
    assert [app.recorder.record("view", size=1) for _ in range(3)] == [False] * 3
    assert sum(app.recorder.statistics().dropped.values()) == 3
    app.recorder.close()
    folder.unlink()
    app.clock.advance(2)
    assert app.open().record("view", size=1)


def test_a_damaged_outbox_does_not_concern_a_running_app(app: Shop) -> None:
    app.allow()
    assert app.recorder.record("view", size=1)
    Path(app.paths.outbox(app.namespace)).write_bytes(b"garbage" * 1000)
    assert app.recorder.record("view", size=2)
    assert len(app.journal.pending(LATER).rows) == 2
    assert app.journal.catalogs() != {}, "the fresh file has the catalog that its rows refer to"
    assert Path(app.paths.outbox(app.namespace) + ".damaged").exists()


def test_the_folder_is_removed_under_a_running_app(app: Shop) -> None:
    import shutil

    app.allow()
    assert app.recorder.record("view", size=1)
    shutil.rmtree(app.paths.namespace(app.namespace))
    app.clock.advance(2)
    assert app.recorder.record("view", size=2), "the loss is noticed before the record"
    assert len(app.journal.pending(LATER).rows) == 1
    assert app.journal.catalogs() != {}


@pytest.mark.shows("DEB-4")
def test_a_locked_outbox_does_not_delay_the_app(app: Shop) -> None:
    app.allow()
    app.journal.pending(LATER)  # makes the tables
    blocker = sqlite3.connect(app.paths.outbox(app.namespace), isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    before = app.clock.monotonic()
    assert all(app.recorder.record("view", size=i) for i in range(5))
    assert app.clock.monotonic() == before, "no call waits"
    blocker.execute("ROLLBACK")
    blocker.close()
    assert len(app.journal.pending(LATER).rows) == 5


def test_a_newer_outbox_is_left_alone(app: Shop) -> None:
    app.allow()
    path = app.paths.outbox(app.namespace)
    os.makedirs(os.path.dirname(path))
    con = sqlite3.connect(path)
    con.execute("PRAGMA user_version = 99")
    con.close()
    assert app.recorder.record("view", size=1), "a newer version takes the spools over"
    with pytest.raises(StoreError) as caught:
        app.journal.pending(LATER)
    assert caught.value.code == "outbox-newer"


@pytest.mark.shows("DEB-4")
def test_an_error_of_our_own_does_not_reach_the_app(
    app: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.allow()

    def broken(self: Clock) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(type(app.clock), "now", broken)
    assert not app.recorder.record("view", size=1)
    assert app.recorder.sequence("buy").step("shown") is False
    assert app.recorder.statistics().dropped == {"error": 2}
    app.recorder.close()


APP = """
import os, sys, time
import methrics.node
r = methrics.node.open(sys.argv[1], home=sys.argv[2], policy=sys.argv[3], publisher="none")
out = os.open(sys.argv[4], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
who, i = int(sys.argv[5]), 0
while True:
    if r.record("view", size=10 * who, color=("red", "green")[i % 2]):
        os.write(out, b"x")
    i += 1
    time.sleep(0.0002)
"""


def start(app: Shop, tmp_path: Path, who: int) -> subprocess.Popen[bytes]:
    catalog = tmp_path / "shop.cbor"
    catalog.write_bytes(app.catalog.raw)
    home = app.paths.home
    assert home is not None
    log = str(tmp_path / f"log{who}")
    return subprocess.Popen(
        [sys.executable, "-c", APP, str(catalog), home, app.paths.policy, log, str(who)]
    )


@pytest.mark.wire
def test_every_record_that_returned_true_survives_a_kill(app: Shop, tmp_path: Path) -> None:
    """Three processes record into one outbox and are killed at random, several times over."""
    app.allow()
    for turn in range(4):
        children = [start(app, tmp_path, who) for who in range(3)]
        logs = [tmp_path / f"log{who}" for who in range(3)]
        sizes = [log.stat().st_size if log.exists() else 0 for log in logs]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            grown = [log.stat().st_size if log.exists() else 0 for log in logs]
            if all(now - before > 40 + 17 * turn for now, before in zip(grown, sizes, strict=True)):
                break
            time.sleep(0.002)
        for child in children:
            child.kill()
            child.wait()
    said = sum(log.stat().st_size for log in logs)
    rows = len(Journal(app.paths.outbox(app.namespace)).pending(LATER, limit=100_000).rows)
    # A child may be killed after the row was stored and before it printed that.
    assert said <= rows <= said + 12
    assert said > 400


FORK = """
import os, sys
import methrics.node
r = methrics.node.open(sys.argv[1], home=sys.argv[2], policy=sys.argv[3], publisher="none")
sequence = r.sequence("buy")
sequence.step("shown")
assert r.record("view", size=1)
for i in range(4):
    if os.fork() == 0:
        ok = all(r.record("view", size=1) for _ in range(50))
        r.close()
        print(r.statistics().dropped, file=sys.stderr) if not ok else None
        os._exit(0 if ok else 1)
assert all(r.record("view", size=1) for _ in range(50))
codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(4)]
print(codes, sum(r.statistics().dropped.values()))
"""


@pytest.mark.wire
def test_forked_children_record_on_their_own(app: Shop, tmp_path: Path) -> None:
    app.allow()
    catalog = tmp_path / "shop.cbor"
    catalog.write_bytes(app.catalog.raw)
    home = app.paths.home
    assert home is not None
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK, str(catalog), home, app.paths.policy],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("[0, 0, 0, 0] 0", "")
    rows = Journal(app.paths.outbox(app.namespace)).pending(LATER).rows
    assert len([row for row in rows if row.type == "view"]) == 1 + 5 * 50
    assert len([row for row in rows if row.type == "buy"]) == 1, "on exit, by the parent alone"


ONCE = """
import sys, time
import methrics.node
r = methrics.node.open(sys.argv[1], home=sys.argv[2], policy=sys.argv[3], publisher="none")
while time.time() < float(sys.argv[4]):
    pass
print(r.record("view", size=1), r.statistics().dropped)
"""


@pytest.mark.wire
def test_many_processes_begin_an_outbox_at_once(app: Shop, tmp_path: Path) -> None:
    app.allow()
    catalog = tmp_path / "shop.cbor"
    catalog.write_bytes(app.catalog.raw)
    home = app.paths.home
    assert home is not None
    at = str(time.time() + 0.5)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ONCE, str(catalog), home, app.paths.policy, at],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    assert {child.communicate(timeout=60)[0].strip() for child in children} == {"True {}"}
    assert len(Journal(app.paths.outbox(app.namespace)).pending(LATER).rows) == 8
