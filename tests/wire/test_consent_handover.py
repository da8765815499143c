"""The address of the consent page reaches the browser of its own user, and no other user."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from real_network import environment, wait_until

from methrics.node.consent.page.handover import Handover, folder_for
from methrics.schema.example import example_bytes

pytestmark = pytest.mark.wire

STRANGER = 65_534
"""The user id of the attacker, which owns nothing here."""

ATTACK = """
import encodings.idna, json, os, re, sys, urllib.error, urllib.parse, urllib.request
uid, readable, address = int(sys.argv[1]), sys.argv[2], sys.argv[3]
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
found = {"control": open(readable).read(), "files": [], "read": [], "replies": []}
words = set()
for process in filter(str.isdigit, os.listdir("/proc")):
    for name in ("cmdline", "environ"):
        try:
            with open(f"/proc/{process}/{name}", "rb") as file:
                words.update(word.decode("utf-8", "replace") for word in file.read().split(b"\\0"))
        except OSError:
            pass
    try:
        for name in os.listdir(f"/proc/{process}/fd"):
            words.add(os.readlink(f"/proc/{process}/fd/{name}"))
    except OSError:
        pass
guesses = set(re.findall(r"(?:code|token)=([^&\\s]+)|\\b([2-9a-z]{14})\\b", " ".join(words)))
for word in sorted(words):
    if word.startswith("file://") and "methrics" in word:
        path = urllib.parse.unquote(word[7:])
        found["files"].append(path)
        for look in (lambda: open(path).read(), lambda: os.listdir(os.path.dirname(path))):
            try:
                found["read"].append(look())
            except (OSError, ValueError):
                pass
for guess in ["", *sorted(one or other for one, other in guesses)]:
    form = urllib.parse.urlencode({"code": guess}).encode()
    headers = {"Origin": address.rstrip("/")}
    for request in (
        urllib.request.Request(f"{address}start?{form.decode()}"),
        urllib.request.Request(f"{address}start", form, headers),
    ):
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                found["replies"].append(reply.status)
        except urllib.error.HTTPError as error:
            found["replies"].append(error.code)
print(json.dumps(found))
"""


ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def default_signals() -> None:
    """Undoes what a child would inherit: a job in the background ignores SIGINT, `nohup` SIGHUP."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


class Command:
    """`methrics consent --web`, whose browser is a stand-in that only shows its arguments."""

    def __init__(self, room: Path) -> None:
        catalog, browser = room / "app.cbor", room / "browser"
        catalog.write_bytes(example_bytes())
        self.started, self.hold = room / "started", room / "hold"
        os.mkfifo(self.hold)
        browser.write_text(
            f'#!/bin/sh\nprintf "%s" "$*" > {shlex.quote(str(self.started))}.new\n'
            f"mv {shlex.quote(str(self.started))}.new {shlex.quote(str(self.started))}\n"
            f"read line < {shlex.quote(str(self.hold))}\n"
        )
        browser.chmod(0o755)
        self.process = subprocess.Popen(
            [Path(sys.executable).parent / "methrics", "consent", "--web", "--catalog", catalog],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=default_signals,
            env=environment(
                BROWSER=str(browser),
                DISPLAY=":0",
                HOME=str(room),
                XDG_RUNTIME_DIR=str(room),
                METHRICS_HOME=str(room / "home"),
            ),
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout
        lines = [self.out.readline() for _ in range(3)]
        self.address = lines[1].split()[-1]
        self.code = lines[2].partition(": ")[2].strip()
        wait_until("start the browser", self.started.exists)
        self.argument = self.started.read_text("utf-8")
        self.file = Path(urlsplit(self.argument).path)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.out.close()
        with open(os.open(self.hold, os.O_RDWR), "w") as hold:
            hold.write("\n")
            hold.flush()


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder that every user of the machine can enter and read."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def command(room: Path) -> Iterator[Command]:
    started = Command(room)
    yield started
    started.close()


def secret_of(file: Path) -> str:
    """The address in the file."""
    found = re.search(r'url=([^"]+)"', file.read_text("utf-8"))
    assert found is not None
    return unescape(found[1])


@pytest.mark.skipif(
    not (sys.platform == "linux" and os.geteuid() == 0), reason="only root can become another user"
)
def test_attack_another_user_reads_the_process_list_to_answer(command: Command, room: Path) -> None:
    readable = room / "readable"
    readable.write_text("everyone reads this")
    python = os.path.realpath(sys.executable)
    done = subprocess.run(
        [python, "-I", "-S", "-c", ATTACK, str(STRANGER), readable, command.address],
        stdout=subprocess.PIPE,
        check=True,
        timeout=600,
    )
    found = json.loads(done.stdout)
    assert found["control"] == "everyone reads this", "the attacker can read what is readable"
    assert set(found["replies"]) == {403}
    assert str(command.file) in found["files"], "the attacker did read the process list"
    assert found["read"] == []
    with urllib.request.urlopen(secret_of(command.file), timeout=60) as reply:
        assert reply.status == 200, "and the person's own browser still gets in"
    assert not (room / "home" / "consent.json").exists()


def test_only_the_owner_can_read_the_file(command: Command) -> None:
    assert command.argument == command.file.as_uri()
    for path, mode in ((command.file, 0o600), (command.file.parent, 0o700)):
        found = path.stat()
        assert stat.S_IMODE(found.st_mode) == mode
        assert found.st_uid == os.getuid()
    assert "code=" in secret_of(command.file)
    assert command.code.replace(" ", "") in secret_of(command.file)


def test_the_file_is_gone_once_its_address_is_used(command: Command) -> None:
    url = secret_of(command.file)
    with urllib.request.urlopen(url, timeout=60) as reply:
        cookie = reply.headers["Set-Cookie"]
    assert "; HttpOnly" in cookie
    assert "; SameSite=Strict" in cookie
    assert not command.file.parent.exists()
    assert command.process.poll() is None
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, timeout=60)
    assert refused.value.code == 403
    refused.value.close()


@pytest.mark.parametrize("number", ENDING)
def test_the_file_is_gone_when_the_command_ends(command: Command, number: int) -> None:
    assert command.file.exists()
    command.process.send_signal(number)
    assert command.process.wait(60) != 0
    assert not command.file.parent.exists()


def test_the_code_can_be_typed(command: Command) -> None:
    with urllib.request.urlopen(command.address, timeout=60) as reply:
        assert 'name="code"' in reply.read().decode()
    form = urlencode({"code": f" {command.code.upper()}-"}).encode()
    headers = {"Origin": command.address.rstrip("/")}
    request = urllib.request.Request(f"{command.address}start", form, headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert "SameSite=Strict" in reply.headers["Set-Cookie"]
    assert not command.file.parent.exists()


def test_the_folder_fits_the_browsers_of_the_system() -> None:
    env = {"XDG_RUNTIME_DIR": "/run/user/7"}

    def folder(*there: str, platform: str = "linux", runtime: str = "/run/user/7") -> str:
        env["XDG_RUNTIME_DIR"] = runtime
        return folder_for("/home/ann", env=env, platform=platform, exists=set(there).__contains__)

    assert folder("/run/user/7", "/home/ann") == "/run/user/7"
    assert folder("/run/user/7", "/home/ann", "/snap/bin") == "/home/ann"
    assert folder("/run/user/7", "/snap/bin") == "/run/user/7"
    assert folder("/home/ann") == tempfile.gettempdir()
    assert folder("run", runtime="run") == tempfile.gettempdir()
    assert folder("/run/user/7", platform="darwin") == tempfile.gettempdir()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Handover("http://127.0.0.1/", str(tmp_path / "absent"))
    with Handover("http://127.0.0.1/?a=1&b=<", str(tmp_path)) as file:
        assert secret_of(Path(file.path)) == "http://127.0.0.1/?a=1&b=<"
        file.remove()
    assert list(tmp_path.iterdir()) == []
