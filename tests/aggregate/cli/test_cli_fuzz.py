"""No argument is a fault in methrics: each command gives a documented exit code and one line."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import aggregate_making as making
import click
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.needed import need

import methrics.node
from methrics.aggregate.cli.main import main
from methrics.aggregate.cli.root import root
from methrics.schema.example import example_bytes, example_source

need("trio")

LONG = {"demo", "simulate"}
"""Commands that work for long whatever their arguments."""

SMALL = {
    "empty": b"",
    "noise": bytes(range(256)),
    "object.json": b"{}",
    "deep.json": b"[" * 50_000,
    "deep.toml": b"a=" + b"[" * 5000,
    "lines.json": b'{"event":"a","properties":{"time":1,"distinct_id":"a"}}\n' * 3,
    "totals.csv": b"day,field,value,installs\n2026-01-01,x,y,z\n",
    "parquet": b"PAR1" + bytes(99) + b"PAR1",
    "key": b"aa" * 32 + b"\n",
}

WORDS = [
    *("", "x", "-1", "0", "1", "9" * 30, "1e400", "nan", "a\nb", "é", "%s", "[bold]", "\x1b[31m"),
    *(".", "..", "/", "~", "/dev/null", "/dev/null/x", "\udcff", "x" * 300, "-", "--", "~x/y"),
    *("heartbeat", "heartbeet", "example", "exampel", "relay", "direct", "yes", "html", "dau"),
    *("7d", "0s", "-5s", "9" * 9 + "d", "2GB", "0GB", "UTC", "Mars/X", "os=linux", "a.b.c"),
    *("http://127.0.0.1:1/", "http://[", "http://\udcff/", "file:///nonexistent", "file://x/y"),
    *("ftp://x", "/ip4/x", "/dns4/localhost/tcp/1/p2p/x", "/methrics/1/x/cbor"),
    *(
        "SELECT 1",
        "SELECT",
        "FROM item",
        "DROP TABLE item",
        "SELECT '\udcff'",
        "SELECT 1;SELECT 2",
    ),
    *("data.duckdb", "app.cbor", "app.toml", *SMALL),
]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        if name not in LONG:
            yield (*path, name)


def command_at(path: tuple[str, ...]) -> click.Command:
    command: click.Command = root
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    path = draw(st.sampled_from(PATHS))
    words, line = st.sampled_from(WORDS), list(path)
    for parameter in command_at(path).params:
        if isinstance(parameter, click.Option):
            if parameter.name in ("help", "web") or draw(st.integers(0, 3)):
                continue
            line.append(draw(st.sampled_from(parameter.opts)))
            if not parameter.is_flag:
                line.append(draw(words))
        else:
            line += draw(st.lists(words, max_size=2 if parameter.nargs < 0 else 1))
    return line


PATHS = sorted(set(commands(root)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    catalog = making.catalog()
    making.store_all(tmp_path / "data.duckdb", [catalog.raw, making.beat(catalog, 1)])
    (tmp_path / "app.cbor").write_bytes(example_bytes())
    (tmp_path / "app.toml").write_text(example_source(), "utf-8")
    for name, content in SMALL.items():
        (tmp_path / name).write_bytes(content)
    os.chmod(tmp_path / "key", 0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METHRICS_HOME", str(tmp_path / "home"))
    recorder = methrics.node.open(example_bytes(), app_version="1.4", publisher="none")
    recorder.asking().answer("heartbeat", "yes", routes=["relay"])
    recorder.record("heartbeat", os="linux")
    recorder.close()

    def started(*args: object) -> None:
        """In place of the services, which would run until a signal."""

    monkeypatch.setattr(trio, "run", started)
    return tmp_path


@given(line=command_lines())
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_argument_is_a_fault_in_methrics(
    folder: Path, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO(""))
        code = main(line)
    said = capsys.readouterr().err
    assert code in (0, 1, 2, 3, 4), said
    assert "fault in methrics" not in said
    if code > 1 and not said.startswith("Usage: "):
        assert sum(one.startswith("methrics: ") for one in said.splitlines()) == 1, said
