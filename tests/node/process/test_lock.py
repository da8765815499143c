"""The lock between processes: exclusive, and gone with its holder whatever children there are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from methrics.node.process.lock import FileLock, is_held


def test_locks_exclude_and_are_asked_without_making_files(tmp_path: Path) -> None:
    path = str(tmp_path / "folder" / "lock")
    assert not is_held(path)
    assert not os.path.exists(path)
    lock = FileLock(path)
    assert lock.try_acquire()
    assert lock.try_acquire()
    assert is_held(path)
    assert not FileLock(path).try_acquire()
    lock.release()
    lock.release()
    assert not is_held(path)


def test_a_waiting_lock_gets_its_turn(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with FileLock(path):
        assert is_held(path)
    with FileLock(path):
        assert not FileLock(path).try_acquire()
    assert not is_held(path)


@pytest.mark.shows("KPI-14")
def test_a_forked_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    lock = FileLock(path)
    assert lock.try_acquire()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0 if lock._fd is None else 1)
    os.close(reading)
    assert is_held(path), "the parent still holds it"
    lock.release()
    assert not is_held(path)
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0


HAMMER = """
import os, sys, threading
from methrics.node.process.lock import FileLock

path, going = sys.argv[1], True

def hammer():
    while going:
        lock = FileLock(path)
        if lock.try_acquire():
            lock.release()

def links():
    for name in os.listdir("/dev/fd"):
        try:
            yield os.stat(int(name)).st_ino
        except OSError:
            pass

open(path, "w").close()
own = os.stat(path).st_ino
thread = threading.Thread(target=hammer)
thread.start()
shared = 0
for _ in range(200):
    child = os.fork()
    if child == 0:
        os._exit(own in links())
    shared += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
going = False
thread.join()
print(shared)
"""


def test_attack_a_link_in_the_place_of_a_lock(tmp_path: Path) -> None:
    """In a shared folder, another user may have made it, so that a file is written over."""
    for name in ("precious", "not there"):
        (tmp_path / "a.lock").symlink_to(tmp_path / name)
        (tmp_path / "precious").write_text("precious")
        with pytest.raises(OSError, match="symbolic link"):
            FileLock(str(tmp_path / "a.lock")).try_acquire()
        (tmp_path / "a.lock").unlink()
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "not there").exists()


def test_the_holder_writes_into_the_lock(tmp_path: Path) -> None:
    with FileLock(str(tmp_path / "a.lock")) as lock:
        lock.write("a long text\n")
        lock.write("short\n")
    assert (tmp_path / "a.lock").read_text() == "short\n"


def test_attack_a_fork_while_another_thread_locks_shares_no_descriptor(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HAMMER, str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "0\n"


HOLDER = """
import os, sys, time
from methrics.node.process.lock import FileLock
lock = FileLock(sys.argv[1])
assert lock.try_acquire()
child = os.fork()
if child == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.wire
@pytest.mark.shows("KPI-14")
def test_a_killed_holder_frees_the_lock_though_its_child_lives(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        assert is_held(path)
        holder.kill()
        holder.wait(60)
        os.kill(child, 0)  # it lives
        assert not is_held(path)
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()
