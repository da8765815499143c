"""The process edge: every error is one line, with a documented exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from methrics.aggregate.cli import main as cli
from methrics.aggregate.cli import root as cli_root
from methrics.schema.errors import ConfigError, StoreError, UnreachableError


def run(monkeypatch: pytest.MonkeyPatch, body: Callable[[], object], *options: str) -> int:
    """The exit code of `methrics probe`, whose callback is `body`."""
    command = click.Command("probe", callback=body)
    monkeypatch.setattr(
        cli_root.LazyGroup,
        "get_command",
        lambda self, ctx, name: command if name == "probe" else None,
    )
    return cli.main([*options, "probe"])


def raiser(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("c", "no such thing", "try that"), 3, "methrics: no such thing (try that)"),
        (StoreError("s", "disk full"), 3, "methrics: disk full"),
        (UnreachableError("u", "nobody there"), 4, "methrics: nobody there"),
        (KeyboardInterrupt(), 130, "methrics: interrupted"),
        (click.Abort(), 130, "methrics: interrupted"),
        (click.UsageError("which one?"), 2, "methrics: which one? (see: methrics probe --help)"),
        (FileNotFoundError(2, "No such file", "x"), 3, "methrics: No such file: x"),
        (ModuleNotFoundError("no", name="duckdb"), 3, "methrics[aggregate]"),
        (ModuleNotFoundError("no", name="multiaddr.codecs"), 3, "methrics[node]"),
        (ModuleNotFoundError("no", name="methrics.gone"), 70, "methrics.gone"),
        (ZeroDivisionError("oops"), 70, "a fault in methrics: ZeroDivisionError: oops"),
    ],
)
def test_every_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    line: str,
) -> None:
    assert run(monkeypatch, raiser(error)) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert line in said.err
    assert said.err.count("\n") == 1


def test_errors_inside_task_groups_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = ExceptionGroup("inner", [ValueError("x"), StoreError("s", "disk full")])
    assert run(monkeypatch, raiser(ExceptionGroup("outer", [inner]))) == 3
    assert capsys.readouterr().err == "methrics: disk full\n"


def test_debug_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, raiser(StoreError("s", "disk full")), "--debug") == 3
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("methrics: disk full\n")


def test_the_answer_no_is_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, lambda: click.get_current_context().exit(1)) == 1


def test_a_commands_value_is_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, lambda: 7) == 0


def test_wrong_use_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["nonsense"]) == 2
    assert cli.main(["--nonsense"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("trial", "methrics has no command trial (did you mean trail?)"),
        ("consent grand", "methrics consent has no command grand (did you mean grant?)"),
        ("mine zzz", "methrics mine has no command zzz (known here: export)"),
    ],
)
def test_a_misspelt_command_is_met_with_a_suggestion(
    words: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words.split()) == 2
    assert capsys.readouterr().err == f"methrics: {line}\n"


def test_help_groups_the_commands_by_reader(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    told = capsys.readouterr().out
    places = [told.index(f"\n{title}:\n") for title in ("First commands", *cli_root.SECTIONS)]
    assert places == sorted(places)
    for command, _ in cli_root.FIRST:
        assert told.index(command) < places[1]


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in cli_root.COMMANDS)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("methrics ")


def test_help_loads_no_command() -> None:
    code = (
        "import sys; from methrics.aggregate.cli.main import main; main(['--help']);"
        "heavy = ('methrics._vendor', 'multiaddr', 'duckdb', 'trio', 'pyarrow');"
        "print([m for m in sys.modules if m.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_without_the_command_line_library() -> None:
    code = (
        "import sys; sys.modules['click'] = None\n"
        "from methrics.aggregate.cli.main import main; sys.exit(main([]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr == (
        "methrics: this command needs click (install it with: pip install 'methrics[node]')\n"
    )


@pytest.mark.parametrize("name", cli_root.COMMANDS)
def test_every_command_loads_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert "Usage: methrics " + name in capsys.readouterr().out


def test_a_closed_output_pipe_is_no_error() -> None:
    code = "import sys; from methrics.aggregate.cli.main import main; sys.exit(main(['--help']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() in (0, 141)
    assert said == b""
