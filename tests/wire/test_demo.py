"""`methrics demo` with real processes and sockets, which leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from methrics.aggregate import open_dataset
from methrics.aggregate.cli.demo_tables import QUERIES, snippet
from methrics.aggregate.cli.main import main
from methrics.aggregate.demo.processes import DemoError, Fleet, quiet_environment
from methrics.node.clock import Clock

pytestmark = [pytest.mark.wire, pytest.mark.slow]


def demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `methrics demo` in a process of its own."""
    command = [sys.executable, "-m", "methrics.aggregate", "demo", "--dir", str(folder), *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd=folder.parent
    )


def test_the_demo_ends_in_tables_that_can_be_queried_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    done = demo(folder, "--apps", "4", "--days", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    for said in ("Installs per day", "all right", "84582aa3 0127", "signed_in"):
        assert said.replace(" ", "") in done.stdout.replace(" ", "")
    digests = [line.split()[-1] for line in done.stdout.splitlines() if " reports  " in line]
    assert len(digests) == 2
    assert digests[0] == digests[1]
    for title, sql in QUERIES:
        with open_dataset(folder / "aggregator-b.duckdb", floor=1) as data:
            assert data.rows(sql), title


def test_the_lines_it_shows_for_python_work(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    done = demo(folder, "--apps", "1", "--days", "1", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    lines = [line[2:] for line in snippet(Path(said["stores"][0])).splitlines()]
    code = "\n".join(lines[2:5])
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert "installs" in out
    # A second run in the same folder: the demo made the folder, so the demo clears it.
    again = demo(folder, "--apps", "1", "--days", "1", "--json")
    assert json.loads(again.stdout)["sent"] == said["sent"]


def processes_that_name(text: str) -> list[str]:
    """Command lines of running processes that contain `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_text("utf-8", "replace").replace("\0", " ")
            except OSError:
                continue
            if text in line:
                found.append(line)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_demo(tmp_path: Path, ending: signal.Signals) -> None:
    folder = tmp_path / "data"
    command = [sys.executable, "-m", "methrics.aggregate", "demo", "--dir", str(folder)]
    clock = Clock()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = clock.monotonic() + 120
        while not (folder / "logs" / "app-02.log").exists():
            assert process.poll() is None, process.communicate()
            assert clock.monotonic() < deadline
            clock.sleep(0.05)
        assert processes_that_name(str(folder))
        process.send_signal(ending)
        _, said = process.communicate(timeout=60)
    if ending is not signal.SIGKILL:
        assert process.returncode == 130
        assert said.decode().strip().endswith("methrics: interrupted")
    deadline = clock.monotonic() + 60
    while processes_that_name(str(folder)):
        assert clock.monotonic() < deadline, processes_that_name(str(folder))
        clock.sleep(0.05)


def test_other_peoples_files_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("do not delete")
    assert main(["demo", "--dir", str(tmp_path)]) == 3
    assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "do not delete"


def test_a_process_that_fails_is_named_with_its_log(tmp_path: Path) -> None:
    with Fleet(tmp_path, quiet_environment(tmp_path), Clock()) as fleet:
        child = fleet.start("one", "no_such_module", [])
        with pytest.raises(DemoError, match=r"one ended with code 1: .*no_such_module.*one\.log"):
            fleet.wait_until("start", child, lambda: False, 60)


def test_a_process_that_hangs_is_named_and_ended(tmp_path: Path) -> None:
    with Fleet(tmp_path, quiet_environment(tmp_path), Clock()) as fleet:
        child = fleet.start("two", "trio", [])  # the interactive console waits on its input
        with pytest.raises(DemoError, match="two "):
            fleet.wait_until("say something", child, lambda: False, 0.2)
    assert not child.running()
