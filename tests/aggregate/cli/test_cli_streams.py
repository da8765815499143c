"""Closed, full or odd standard streams, and arguments that are not text: one clear line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aggregate_making as making
import pytest
from tests.needed import need

from methrics.aggregate.cli.main import main
from methrics.node.process.streams import one_line
from methrics.schema.example import example_bytes

CATALOG = making.catalog()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streams") / "a.duckdb"
    making.store_all(path, [CATALOG.raw, making.beat(CATALOG, 1)])
    return path


def shell(
    redirections: str, *arguments: str | Path, flags: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Runs `methrics` with redirections of a shell."""
    script = f'exec "$0" {flags} -m methrics.aggregate "$@" {redirections}'
    return subprocess.run(
        ["/bin/sh", "-c", script, sys.executable, *map(os.fspath, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **more},
    )


@pytest.mark.parametrize("more", [[], ["--csv"], ["--json"]])
def test_a_closed_standard_output_is_named(file: Path, more: list[str]) -> None:
    done = shell(">&-", "query", file, "SELECT 1", *more)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "methrics: standard output is closed (to print nothing, use >/dev/null)\n"


def test_a_closed_standard_error_keeps_the_exit_code(file: Path) -> None:
    assert shell("2>&-", "query", "no-such-file", "SELECT 1").returncode == 3
    assert shell("2>&- <&- >&-", "query", file, "SELECT 1").returncode == 3
    done = shell("2>&- <&-", "query", file, "SELECT 1 AS one", "--csv")
    assert (done.returncode, done.stdout) == (0, "one\n1\n")


def test_a_full_disk_is_one_line(file: Path) -> None:
    done = shell(">/dev/full", "query", file, "FROM range(100000)", "--csv")
    assert (done.returncode, done.stderr) == (3, "methrics: No space left on device\n")


def test_a_reader_that_ends_early_is_silent(file: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "methrics.aggregate", "query", file, "FROM range(100000)", "--csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "range\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_an_encoding_that_lacks_a_character(tmp_path: Path) -> None:
    path = tmp_path / "näme.duckdb"
    making.store_all(path, [CATALOG.raw, making.beat(CATALOG, 1)])
    done = shell("", "query", path, "SELECT 'ä…' AS x", "--csv", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "\\xe4\\u2026" in done.stdout


@pytest.mark.parametrize("sql", ["SELECT '\udcff'", "\udcff", "SELECT \udcff", "SELECT 1 --\udc80"])
def test_sql_that_is_not_text(file: Path, sql: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", str(file), sql]) == 3
    assert capsys.readouterr().err == "methrics: the SQL is not text in UTF-8\n"


@pytest.mark.parametrize("command", ["query", "verify", "aggregate"])
@pytest.mark.parametrize("kind", ["empty", "fifo", "device"])
def test_a_data_file_that_is_empty_or_no_file(
    tmp_path: Path, command: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.duckdb"
    if kind == "empty":
        path.touch()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    (tmp_path / "example.cbor").write_bytes(example_bytes())
    more = ["--catalog", str(tmp_path / "example.cbor")] if command == "aggregate" else []
    assert main([command, str(path), *more]) == 3
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert ("is empty" if kind == "empty" else "is not a regular file") in said.err


def test_a_name_with_a_line_break_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "a\nb\x1b[31m"]) == 3
    assert capsys.readouterr().err.startswith(r"methrics: a\nb\x1b[31m cannot be opened")
    assert one_line("a\tb\u2028\udcff…é ") == r"a\tb\u2028\udcff…é"


def test_a_python_without_docstrings(file: Path) -> None:
    help_ = shell("", "query", "--help", flags="-OO")
    assert "Ask a data set in SQL, or by a view." in help_.stdout
    assert "-OO" in " ".join(shell("", "--help", flags="-OO").stdout.split())
    done = shell("", "query", file, "beat_dau", "--floor", "1", flags="-OO")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Active installs" in done.stdout


@pytest.mark.wire
def test_a_relay_outlives_the_reader_of_its_log(tmp_path: Path) -> None:
    need("trio")
    (tmp_path / "example.cbor").write_bytes(example_bytes())
    command = ["relay", "--catalog", tmp_path / "example.cbor", "--listen", "/ip4/127.0.0.1/tcp/0"]
    with subprocess.Popen(
        [sys.executable, "-m", "methrics.aggregate", *command, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["event"] == "listening"
        process.stdout.close()
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    assert process.returncode == 0
    assert said == "methrics: standard output was closed by its reader; its lines are discarded\n"
