"""The example with the official Mixpanel client, as a process: its records and its sockets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from embedded import agree, home, program, run, waiting
from real_network import EXAMPLES

pytestmark = pytest.mark.wire

WATCHED = """
import runpy, sys
import mixpanel  # urllib3 makes a socket when it is imported, to see whether there is IPv6

def look(event, arguments):
    if event.startswith("socket."):
        print("a socket:", event, arguments)

sys.addaudithook(look)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a program and prints each use of a socket."""


def watched(*arguments: str) -> list[str]:
    return [
        sys.executable,
        "-W",
        "error",
        "-c",
        WATCHED,
        str(EXAMPLES / arguments[0]),
        *arguments[1:],
    ]


@pytest.mark.shows("METH-10")
def test_with_the_mixpanel_client_an_app_records_here(tmp_path: Path, nobody: Path) -> None:
    where = home(nobody.parent, nobody.name)
    agree(where)
    said = run(watched("mixpanel_client.py", "search", "rosebud"), tmp_path)
    nothing, statistics = said.splitlines()
    assert nothing == "nothing found for rosebud"
    assert "recorded=1" in statistics
    assert "'people': 1" in statistics
    assert "'undeclared': 1" in statistics
    rows = {row.type: row for row in waiting(where)}
    assert set(rows) == {"command", "heartbeat"}
    assert rows["command"].values.pop("seconds") in range(5), "the number of a bucket"
    assert rows["command"].values == {"name": "search", "worked": False}
    assert rows["heartbeat"].values["version"] == "1.4"
    kept = b"".join(
        Path(folder, file).read_bytes()
        for folder, _, files in os.walk(where.data)
        for file in files
    )
    assert b"heartbeat" in kept
    for word in (b"rosebud", b"jane", b"Jane", b"no token", b"Mixpanel", b"insert_id"):
        assert word not in kept


def test_without_consent_it_does_nothing(tmp_path: Path, nobody: Path) -> None:
    said = run(program("mixpanel_client.py", "export", "file"), tmp_path)
    assert "recorded=0" in said
    assert "'not-recorded': 1" in said
    assert not nobody.exists()
    assert list(tmp_path.iterdir()) == []


def test_the_watch_sees_a_socket(tmp_path: Path) -> None:
    script = tmp_path / "connects.py"
    script.write_text("import socket\nsocket.socket().close()\n")
    assert "a socket: socket.__new__" in run(watched(str(script)), tmp_path)
