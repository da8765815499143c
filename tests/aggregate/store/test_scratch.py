"""Folders for temporary data: those of killed processes are removed, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from methrics.aggregate.store import scratch
from methrics.aggregate.store.duck import memory
from methrics.aggregate.store.scratch import LOCK, PREFIX, sweep

SPILLING = """
import os, sys
from methrics.aggregate.store.duck import memory
con = memory()
con.execute("SET memory_limit = '20MB'")
con.execute("SET threads = 1")
con.execute("CREATE TABLE t AS SELECT range AS a, repeat('spilled ', 8) AS b FROM range(400000)")
print("spilled", flush=True)
sys.stdin.read()
"""


def left(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{PREFIX}*"))


@pytest.mark.wire
def test_what_a_killed_process_has_spilled_is_removed_at_the_next_start(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SPILLING]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "spilled\n"
        (folder,) = left(tmp_path)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert sum(one.stat().st_size for one in folder.rglob("*")) > 1 << 20
        sweep(tmp_path)
        assert left(tmp_path) == [folder], "a living process keeps its folder"
        process.send_signal(signal.SIGKILL)
    sweep(tmp_path)
    assert left(tmp_path) == []


def made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    (folder / LOCK).touch()
    (folder / "spilled").write_text("raw bytes")
    return folder


def test_attack_no_link_and_no_folder_of_others_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    precious = made(tmp_path / "precious")
    (place / f"{PREFIX}link").symlink_to(precious)
    open_to_all = made(place / f"{PREFIX}open")
    open_to_all.chmod(0o777)
    unlocked = place / f"{PREFIX}young"
    unlocked.mkdir(0o700)
    (place / f"{PREFIX}file").write_text("a file")
    inside = made(place / f"{PREFIX}inside")
    (inside / "link").symlink_to(precious)
    sweep(place)
    assert not inside.exists()
    assert (precious / "spilled").read_text() == "raw bytes"
    assert open_to_all.exists()
    assert unlocked.exists()
    assert len(left(place)) == 4

    theirs = made(place / f"{PREFIX}theirs")
    monkeypatch.setattr(scratch.os, "geteuid", lambda: os.getuid() + 1)
    sweep(place)
    assert theirs.exists()


def test_a_folder_that_vanishes_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_own", [])
    monkeypatch.setattr(scratch, "plain_temporary", lambda: tmp_path)
    first = scratch.scratch_folder()
    assert scratch.scratch_folder() == first
    (first / LOCK).unlink()
    first.rmdir()
    second = scratch.scratch_folder()
    assert second != first
    assert scratch.spill_folder().parent == second


def test_where_no_folder_can_be_made_duckdb_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise PermissionError("read-only")

    monkeypatch.setattr(scratch, "scratch_folder", refuse)
    with memory() as con:
        assert con.execute("SELECT 1").fetchall() == [(1,)]
