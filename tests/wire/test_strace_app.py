"""The system calls of real apps with methrics, traced by strace (DEB-1, DEB-4).

Without consent, an app with methrics makes no file, process or connection that the same app without
methrics does not make. With consent, the app's process only writes its outbox and may start the
publisher.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from embedded import CATALOG, NAMESPACE, agree, home, receipts, waiting
from real_network import EXAMPLES, environment, wait_until

from methrics.node.outbox.periods import DAY

pytestmark = pytest.mark.wire

NETWORK = {
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg",
    "sendmmsg", "recvfrom", "recvmsg", "recvmmsg", "getsockname", "getpeername", "setsockopt",
    "getsockopt", "shutdown",
}  # fmt: skip
FILES = {
    "open", "openat", "openat2", "creat", "mkdir", "mkdirat", "mknod", "mknodat", "rename",
    "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "link", "linkat", "symlink",
    "symlinkat", "chmod", "fchmodat", "chown", "truncate", "utimensat", "setxattr",
}  # fmt: skip
PROCESSES = {"clone", "clone3", "fork", "vfork", "execve", "execveat"}

CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\w+)")
STARTS = {"clone", "clone3", "fork", "vfork"}

PLAIN = """
import sys
print("working")
"""

USES_ALL = """
import sys
import methrics.node
if len(sys.argv) > 2:
    import time
    from methrics.node.clock import Clock
    Clock.now = lambda self: int(time.time()) - int(sys.argv[2])
recorder = methrics.node.open(sys.argv[1], app_version="1.4")
print("working")
for _ in range(3):
    recorder.record("heartbeat", **recorder.facts("heartbeat"))
    recorder.record("command", name="plot", worked=True, seconds=0.2)
    recorder.count("request", 5, page="home", answer="ok")
recorder.sequence("command")
recorder.statistics()
recorder.close()
"""


class Call(NamedTuple):
    """One system call: its arguments as strace writes them, and what it returned."""

    name: str
    arguments: str
    result: str


class Traced(NamedTuple):
    """The system calls of the app's own process, and those of the processes that it started."""

    own: list[Call]
    others: list[Call]


@pytest.fixture(scope="module", autouse=True)
def strace() -> None:
    """Skips the test, with the reason, if processes cannot be traced."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"processes cannot be traced here: {tried.stderr.decode().strip()}")


def traced(folder: Path, arguments: Iterable[str], **env: str) -> Traced:
    """Run Python with `arguments`, which prints "working", until it and its children have ended."""
    folder.mkdir()
    watched = ",".join(sorted(NETWORK | FILES | PROCESSES))
    command = ["strace", "-ff", "-qq", "-s", "256", "-e", f"trace={watched}", "-e", "signal=none"]
    with subprocess.Popen(
        [*command, "-o", str(folder / "calls"), sys.executable, *arguments],
        cwd=folder,
        env=environment(PYTHONDONTWRITEBYTECODE="1", **env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as done:
        told: set[int] = set()
        wait_until("end", lambda: _tell_publishers(folder, told) or done.poll() is not None, 100)
        assert done.stdout is not None
        assert done.stderr is not None
        said = done.stdout.read(), done.stderr.read()
    assert (done.returncode, *said) == (0, "working\n", "")
    calls = {int(path.suffix[1:]): _calls(path) for path in folder.glob("calls.*")}
    threads = {min(calls, key=lambda pid: _first_line(folder, pid))}
    waiting_for = list(threads)
    while waiting_for:
        for call in calls[waiting_for.pop()]:
            if call.name in STARTS and "CLONE_THREAD" in call.arguments:
                threads.add(int(call.result))
                waiting_for.append(int(call.result))
    return Traced(
        [call for pid in sorted(threads) for call in calls[pid]],
        [call for pid in sorted(set(calls) - threads) for call in calls[pid]],
    )


def _tell_publishers(folder: Path, told: set[int]) -> None:
    """A publisher without a reachable relay retries for hours; end it after its first attempt."""
    for path in folder.glob("calls.*"):
        pid, text = int(path.suffix[1:]), path.read_text("utf-8", "replace")
        if pid not in told and "methrics.node.publisher" in text and "htons(9)" in text:
            told.add(pid)
            os.kill(pid, signal.SIGTERM)


def _first_line(folder: Path, pid: int) -> tuple[bool, int]:
    # The first process is the app, which strace started: its first call is execve.
    text = (folder / f"calls.{pid}").read_text("utf-8", "replace")
    return (not text.startswith("execve("), pid)


def _calls(path: Path) -> list[Call]:
    found = []
    for line in path.read_text("utf-8", "replace").splitlines():
        match = CALL.match(line)
        if match is not None:
            found.append(Call(*match.groups()))
    return found


def network(calls: list[Call]) -> list[Call]:
    return [call for call in calls if call.name in NETWORK]


def to_peer(call: Call) -> bool:
    """Whether the call names an internet address to connect or to send to."""
    return call.name in ("connect", "sendto", "sendmsg", "sendmmsg") and "AF_INET" in call.arguments


def started(calls: list[Call]) -> list[Call]:
    return [call for call in calls if call.name in STARTS]


def changed(calls: list[Call]) -> list[str]:
    """Files that the calls opened for writing, created, renamed or removed."""
    found = []
    for call in calls:
        if call.name not in FILES:
            continue
        if call.name.startswith("open") and not re.search(
            r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND", call.arguments
        ):
            continue
        found.append(call.arguments.split('"')[1])
    return found


def touched(calls: list[Call], folder: str) -> set[str]:
    """Files under `folder` that appear in the calls, including those opened for reading."""
    named = {part for call in calls for part in re.findall(r'"([^"]*)"', call.arguments)}
    return {name for name in named if name.startswith(folder)}


def test_the_watcher_sees_sockets_and_files(tmp_path: Path) -> None:
    noisy = """
import os, socket, subprocess, threading
print("working")
os.mkdir("folder")
open("file", "w").close()
socket.socket().close()
thread = threading.Thread(target=lambda: open("other", "w").close())
thread.start()
thread.join()
subprocess.run(["true"])
"""
    seen = traced(tmp_path / "t", ["-c", noisy])
    assert {call.name for call in network(seen.own)} == {"socket"}
    assert [name for name in changed(seen.own) if "/dev" not in name] == ["folder", "file", "other"]
    assert len(started(seen.own)) == 2
    assert any("execve" in call.name for call in seen.others)


@pytest.mark.shows("MIM-2", "DEB-1")
@pytest.mark.parametrize("why", ["not asked", "no", "DO_NOT_TRACK", "CI"])
def test_deb_1_without_consent_the_system_sees_the_same_app(why: str, tmp_path: Path) -> None:
    paths = home(tmp_path)
    env = {"METHRICS_HOME": paths.data}
    if why != "not asked":
        agree(paths)
        if why == "no":
            from methrics.node.consent.ledger import withdraw

            withdraw(paths, NAMESPACE, list(CATALOG.types), now=0)
        else:
            env[why] = "1"
    before = sorted(Path(paths.data).rglob("*"))
    plain = traced(tmp_path / "plain", ["-c", PLAIN])
    app = traced(tmp_path / "app", ["-c", USES_ALL, str(EXAMPLES / "app.cbor")], **env)
    for calls in (app, plain):
        assert calls.others == []
        assert network(calls.own) == []
        assert changed(calls.own) == []
        assert started(calls.own) == [], "no process and no thread"
    assert sorted(Path(paths.data).rglob("*")) == before
    assert touched(app.own, paths.data) <= {paths.ledger}, "methrics read only the consent file"


def allowed(name: str, folder: str) -> bool:
    """Whether the app's own process may write this file: its outbox, or input of a child."""
    if name == os.devnull or name in (folder, f"{folder}/outbox.db"):
        return True
    new = r"(\.\d+\.[0-9a-f]+)?"  # a file that replaces another, before it is renamed
    spool = rf"[0-9a-f]{{16}}\.(events|slots)|[0-9a-f]{{12}}\.catalog{new}"
    own = rf"(spool|due{new}|spool/({spool}))"
    return re.fullmatch(re.escape(folder) + "/" + own, name) is not None


@pytest.mark.shows("METH-12", "DEB-4", "KPI-14")
@pytest.mark.parametrize("due", [False, True])
def test_deb_4_with_consent_the_app_writes_only_its_outbox(due: bool, tmp_path: Path) -> None:
    paths = home(tmp_path)
    agree(paths)
    catalog = str(EXAMPLES / "app.cbor")
    # The relay's address does not answer, but the trace shows each attempt to connect to it.
    env = {
        "METHRICS_HOME": paths.data,
        "METHRICS_RELAYS": "/ip4/127.0.0.1/tcp/9/p2p/"
        "12D3KooWJcrdD88SqHwZ4vqkaD2GK8dZzgsNh74PUwVEzkyYhiev",
    }
    if due:
        traced(tmp_path / "earlier", ["-c", USES_ALL, catalog, str(2 * DAY)], **env)
    app = traced(tmp_path / "app", ["-c", USES_ALL, catalog], **env)
    assert network(app.own) == []
    folder = paths.namespace(NAMESPACE)
    assert [name for name in changed(app.own) if not allowed(name, folder)] == []
    assert any(name.endswith(".events") for name in changed(app.own))
    others = {paths.data, paths.ledger, f"{paths.config}/network.json", f"{folder}/publisher.lock"}
    found = {one for one in touched(app.own, paths.data) - others if not allowed(one, folder)}
    assert found == set(), "SQLite is in the publisher alone"
    processes = [call for call in started(app.own) if "CLONE_THREAD" not in call.arguments]
    assert len(processes) == int(due), "a publisher, only if something is due"
    if not due:
        assert app.others == []
        assert len(waiting(paths)) == 3 + 1 + 1
        return
    programs = {call.arguments.split('"')[1] for call in app.others if call.name == "execve"}
    assert sys.executable in programs, "a Python of its own (libp2p, in there, looks for libraries)"
    reached = {call.arguments.partition(", ")[2] for call in network(app.others) if to_peer(call)}
    relay = '{sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("127.0.0.1")}, 16'
    assert reached == {relay}, "the relay that the person chose, and no name server"
    assert {one.state for one in receipts(paths)} == {"due"}
