"""Real processes that record: killed, short-lived by the thousand, forked beside threads."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import methrics.node
from methrics.node.consent.ledger import grant
from methrics.node.outbox.journal import Journal
from methrics.node.spool.folder import EVENTS, lock, spool_folder, spool_names

if TYPE_CHECKING:
    from conftest import Shop

pytestmark = [pytest.mark.wire, pytest.mark.slow]

LATER = 1 << 40
MANY = 3_000


class App:
    """The shop with the system's clock, for processes that this one forks."""

    def __init__(self, app: Shop) -> None:
        grant(app.paths, app.namespace, app.catalog.types, now=0)
        self.shop = app
        self.path = app.paths.outbox(app.namespace)
        self.folder = spool_folder(self.path)

    def open(self) -> methrics.node.Recorder:
        return self.shop.open(clock=None)

    def journal(self) -> Journal:
        return Journal(self.path, rows_max=1 << 30)

    def stored(self) -> Counter[str]:
        journal = self.journal()
        found = Counter[str]()
        for row in journal.pending(LATER, limit=1 << 30).rows:
            found[row.type] += row.total if row.table == "counter" else 1
        journal.close()
        return found


@pytest.fixture
def real(app: Shop) -> App:
    real = App(app)
    assert not real.open().record("unknown")  # loads what a forked process would load
    return real


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - the child shows it and fails
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def test_kills_of_recorders_and_folders_lose_and_repeat_nothing(real: App, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown by pytest when the test fails
    rng = random.Random(seed)
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def record() -> None:
        recorder = real.open()
        chosen = random.Random(os.getpid())
        while True:
            kind = chosen.choice("vvvcccs")
            color = chosen.choice(("red", "green"))
            os.write(log, kind.encode())
            if kind == "v":
                kept = recorder.record("view", color=color)
            elif kind == "c":
                kept = recorder.count("click", color=color)
            else:
                kept = recorder.record("visit", color=color)
            if kept:
                os.write(log, kind.upper().encode())
            if chosen.random() < 0.002 and recorder._spool is not None:
                recorder._spool.leave()

    def fold() -> None:
        while True:
            journal = real.journal()
            journal.fold()
            journal.close()

    works, running = [record, record, record, fold], dict[int, Callable[[], None]]()
    for work in works:
        running[fork(work)] = work
    for _ in range(160):
        time.sleep(rng.uniform(0.0, 0.06))
        child = rng.choice(list(running))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "a process ended by itself"
        work = running.pop(child)
        running[fork(work)] = work
    for child in running:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(log)
    said = Counter((tmp_path / "log").read_text())
    found = real.stored()
    assert said["V"] <= found["view"] <= said["v"]
    assert said["C"] <= found["click"] <= said["c"]
    assert min(said["V"], said["C"]) > 1000
    assert found["visit"] == 1
    assert not spool_names(real.folder), "nothing is left of processes that have ended"


HOST = """
import gc, os, sys
import methrics.node
catalog, home, policy, many = sys.argv[1:]
raw = open(catalog, "rb").read()
methrics.node.open(raw, home=home, policy=policy, publisher="none").record("unknown")
recorder = methrics.node.open(raw, home=home, policy=policy, publisher="none")
gc.collect()
gc.freeze()
running = 0
for number in range(int(many)):
    if os.fork() == 0:
        kept = recorder.record("view", size=1) and recorder.count("click", 2, color="red")
        os._exit(0 if kept else 1)
    running += 1
    while running >= 4 or (running and number == int(many) - 1):
        assert os.wait()[1] == 0
        running -= 1
"""


def test_thousands_of_short_processes(real: App, tmp_path: Path) -> None:
    catalog = tmp_path / "shop.cbor"
    catalog.write_bytes(real.shop.catalog.raw)
    paths = real.shop.paths
    assert paths.home is not None
    command = [sys.executable, "-c", HOST, str(catalog), paths.home, paths.policy, str(MANY)]
    subprocess.run(command, check=True, timeout=300)
    assert len(spool_names(real.folder)) <= 40
    assert real.stored() == {"view": MANY, "click": 2 * MANY}
    assert not spool_names(real.folder)


def test_a_parent_with_threads_forks_while_they_record(real: App) -> None:
    recorder = real.open()
    ended, kept = threading.Event(), Counter[str]()

    def busy() -> None:
        n = 0
        while not ended.wait(0.001):
            n += recorder.record("view", size=n) and recorder.count("click", color="red")
            recorder.record("view", undeclared=True)
        kept[threading.current_thread().name] = n

    threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    asleep = fork(lambda: time.sleep(60))

    def child() -> None:
        for n in range(20):
            assert recorder.record("view", size=n), recorder.statistics()
            assert recorder.count("click", color="green"), recorder.statistics()
        assert not recorder.record("view", undeclared=True)

    signal.alarm(300)  # a child that waits for a lock for ever ends the test
    for _ in range(150):
        assert os.waitpid(fork(child), 0)[1] == 0
    ended.set()
    for thread in threads:
        thread.join()
    signal.alarm(0)
    n = sum(kept.values()) + 150 * 20
    spool = recorder._spool
    assert spool is not None
    spool.leave()
    assert real.stored() == {"view": n, "click": n}
    assert not spool_names(real.folder), "a child that sleeps keeps no lock of its parent"
    os.kill(asleep, signal.SIGKILL)
    os.waitpid(asleep, 0)


def test_a_fork_while_a_thread_opens_the_files(real: App, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, opens = real.open(), threading.Event()

    def slow(fd: int) -> bool | None:
        opens.set()
        time.sleep(0.3)
        return lock(fd)

    monkeypatch.setattr("methrics.node.spool.spool.lock", slow)
    thread = threading.Thread(target=lambda: recorder.record("view", size=1))
    thread.start()
    opens.wait()
    asleep = fork(lambda: time.sleep(60))
    thread.join()
    spool = recorder._spool
    assert spool is not None
    spool.leave()
    assert real.stored() == {"view": 1}
    assert not spool_names(real.folder), "the child holds no lock"
    os.kill(asleep, signal.SIGKILL)
    os.waitpid(asleep, 0)


def test_a_fork_while_a_thread_uses_files_that_were_left(real: App) -> None:
    recorder = real.open()
    assert recorder.record("view", size=1)
    spool = recorder._spool
    assert spool is not None
    files = spool._files  # as a thread has it during a write
    assert files is not None
    spool.leave()
    asleep = fork(lambda: time.sleep(60))
    os.set_blocking(files.events, True)  # still open in the parent
    del files
    assert real.stored() == {"view": 1}
    assert not spool_names(real.folder), "the child holds no lock"
    os.kill(asleep, signal.SIGKILL)
    os.waitpid(asleep, 0)


LOCKED = """
import os, sys, threading
app = threading.Lock()
os.register_at_fork(before=app.acquire, after_in_parent=app.release, after_in_child=app.release)
import methrics.node
catalog, home, policy = sys.argv[1:]
raw = open(catalog, "rb").read()
recorder = methrics.node.open(raw, home=home, policy=policy, publisher="none")
begun = threading.Event()

def work():
    with app:
        begun.set()
        threading.Event().wait(0.2)
        assert recorder.record("view", size=1), recorder.statistics()

thread = threading.Thread(target=work)
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    os._exit(0 if recorder.record("view", size=2) else 1)
assert os.waitpid(child, 0)[1] == 0
thread.join()
"""


def test_a_fork_that_waits_for_a_lock_of_the_app_under_which_it_records(
    real: App, tmp_path: Path
) -> None:
    catalog = tmp_path / "shop.cbor"
    catalog.write_bytes(real.shop.catalog.raw)
    paths = real.shop.paths
    assert paths.home is not None
    command = [sys.executable, "-c", LOCKED, str(catalog), paths.home, paths.policy]
    subprocess.run(command, check=True, timeout=60)
    assert real.stored() == {"view": 2}


def test_files_are_damaged_and_removed_under_running_processes(real: App) -> None:
    rng = random.Random(3)
    ended = [False]

    def record() -> None:
        signal.signal(signal.SIGTERM, lambda *_: ended.__setitem__(0, True))
        recorder = real.open()
        tried = refused = 0
        while not ended[0]:
            refused += not recorder.record("view", size=1)
            refused += not recorder.count("click", color="red")
            refused += not recorder.record("visit", color="red")
            tried += 3
            time.sleep(0.0005)
        statistics = recorder.statistics()
        assert statistics.recorded + sum(statistics.dropped.values()) == tried
        assert sum(statistics.dropped.values()) == refused
        assert "error" not in statistics.dropped
        time.sleep(1.1)
        assert recorder.record("buy") is False
        with recorder.sequence("buy") as sequence:
            assert sequence.step("paid")
        recorder.close()

    children = [fork(record) for _ in range(2)]
    journal, end = real.journal(), time.monotonic() + 2
    while time.monotonic() < end:
        time.sleep(rng.uniform(0, 0.05))
        with contextlib.suppress(OSError):
            files = [*Path(real.folder).iterdir()]
            file = rng.choice(files)
            match rng.randrange(5):
                case 0:
                    os.truncate(file, 0)
                case 1:
                    os.truncate(file, rng.randrange(file.stat().st_size + 1))
                case 2:
                    file.unlink()
                case 3:
                    with file.open("r+b") as opened:
                        opened.seek(rng.randrange(file.stat().st_size + 1))
                        opened.write(rng.randbytes(40))
                case _:
                    for one in files:
                        one.unlink(missing_ok=True)
                    Path(real.folder).rmdir()
        journal.fold()
    for child in children:
        os.kill(child, signal.SIGTERM)
        assert os.waitpid(child, 0)[1] == 0
    assert real.stored()["buy"] == 2, "what was recorded a second later is there"
    journal.close()


def test_a_thousand_recorders_keep_no_descriptors(real: App) -> None:
    gc.collect()  # what other tests have left open is closed now and not later
    before = len(os.listdir("/proc/self/fd"))
    for n in range(1000):
        recorder = real.open()
        assert recorder.record("view", size=n)
    assert len(os.listdir("/proc/self/fd")) - before < 5
    assert len([*Path(real.folder).glob(f"*{EVENTS}")]) == 1
    del recorder
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
