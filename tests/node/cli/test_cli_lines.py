"""The log of a long-running command may be lost; the command goes on."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAY = """
import sys, time
from methrics.node.cli.lines import say
sys.stdin.read()
for i in range(3):
    say(f"line {i}", err=sys.argv[1] == "stderr")
sys.exit(7)
"""


def start(stream: str, **streams: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SAY, stream], stdin=subprocess.PIPE, text=True, **streams
    )


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_ended_is_named_once(stream: str) -> None:
    process = start(stream, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lost, other = process.stdout, process.stderr
    if stream == "stderr":
        lost, other = other, lost
    assert lost is not None
    assert other is not None
    assert process.stdin is not None
    lost.close()
    process.stdin.close()
    name = "standard output" if stream == "stdout" else "standard error"
    assert other.read() == (f"methrics: {name} was closed by its reader; its lines are discarded\n")
    other.close()
    assert process.wait(60) == 7


def test_both_readers_ended() -> None:
    process = start("stdout", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.close()
    process.stdin.close()
    assert process.wait(60) == 7


def test_a_full_disk_does_not_end_the_command() -> None:
    with open("/dev/full", "wb") as full:
        process = start("stderr", stderr=full.fileno())
        process.communicate(timeout=60)
    assert process.returncode == 7
