"""`python -m methrics.node consent` says no, and everything else, with the base install alone."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from methrics.node.base.main import main
from methrics.node.consent import way_back as way_back_module
from methrics.node.consent.answer import EVERY
from methrics.node.consent.ledger import read_answers
from methrics.node.consent.way_back import way_back
from methrics.node.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conftest import Shop
    from methrics.node.consent.answer import Answer

ROOT = Path(__file__).parents[3]
BASE = ("cbor2", "_cbor2", "nacl", "cffi", "_cffi_backend", "pycparser")
"""The modules of the distribution's own requirements, `cbor2` and `pynacl`, and of theirs."""


@pytest.fixture
def catalog(app: Shop, tmp_path: Path) -> str:
    path = tmp_path / "shop.cbor"
    path.write_bytes(app.catalog.raw)
    return str(path)


def run(app: Shop, *arguments: str) -> int:
    assert app.paths.home is not None
    return main(["consent", *arguments, "--home", app.paths.home])


def answers(app: Shop) -> Mapping[str, Answer]:
    return read_answers(app.paths.ledger).get(app.namespace, {})


@pytest.fixture
def base_packages(tmp_path: Path) -> str:
    """A folder with the base install's packages and no others."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name in BASE:
        found = find_spec(name)
        if found is None or found.origin is None:
            continue  # an implementation without it
        origin = Path(found.origin)
        source = origin.parent if found.submodule_search_locations else origin
        (folder / source.name).symlink_to(source)
    roots = [str(ROOT / part) for part in ("schema", "node")]
    return os.pathsep.join([*roots, str(folder)])


def test_a_person_says_yes_and_no_without_any_extra(
    app: Shop, catalog: str, base_packages: str
) -> None:
    home = app.paths.home
    assert home is not None

    def command(*arguments: str) -> str:
        # -S: no site-packages, so only what `base_packages` has can be imported.
        done = subprocess.run(
            [sys.executable, "-S", "-m", "methrics.node", "consent", *arguments, "--home", home],
            env={"PYTHONPATH": base_packages, "HOME": home},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "everything is off" in command()
    assert "view" in command("grant", "--catalog", catalog, "--type", "view", "--yes")
    assert answers(app)["view"].on
    assert "your answer" in command()
    app.clock.advance(2)
    assert app.recorder.record("view", color="red")
    out = command("withdraw", "--app", app.namespace)
    assert "off: every event type; 1 waiting event deleted" in out
    assert not any(answer.on for answer in answers(app).values())
    assert "command" in command("history")
    probe = subprocess.run(
        [sys.executable, "-S", "-c", "import click"],
        env={"PYTHONPATH": base_packages},
        capture_output=True,
        check=False,
    )
    assert probe.returncode != 0, "click must not be there, or this test shows nothing"


def test_the_question_is_asked_in_a_terminal_without_any_extra(
    app: Shop, catalog: str, base_packages: str
) -> None:
    home = app.paths.home
    assert home is not None
    ours, theirs = os.openpty()
    arguments = ["consent", "ask", "--catalog", catalog, "--home", home]
    with subprocess.Popen(
        [sys.executable, "-S", "-m", "methrics.node", *arguments],
        env={"PYTHONPATH": base_packages, "HOME": home, "COLUMNS": "80", "LINES": "24"},
        stdin=theirs,
        stdout=theirs,
    ) as asked:
        os.close(theirs)
        os.write(ours, b"y\n")
        out = read_all(ours)
        assert asked.wait(timeout=60) == 0
    os.close(ours)
    assert "May shop share usage reports?" in out
    assert f"{sys.executable} -m methrics.node consent --home" in out
    assert {answer.on for answer in answers(app).values()} == {True}


def read_all(terminal: int) -> str:
    """What a program writes to a terminal until it ends."""
    parts = []
    with contextlib.suppress(OSError):  # Linux: the last program closed the terminal
        while part := os.read(terminal, 65_536):
            parts.append(part)
    return b"".join(parts).decode()


def test_asking_needs_a_terminal(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(app, "ask", "--catalog", catalog) == 3
    assert "no terminal" in capsys.readouterr().err
    assert answers(app) == {}


def test_everything_can_be_withdrawn_at_once(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, "grant", "--catalog", catalog, "--yes") == 0
    assert run(app, "withdraw", "--all") == 0
    assert "every app: off" in capsys.readouterr().out
    assert read_answers(app.paths.ledger)[EVERY][EVERY].said == "no"
    assert not any(answer.on for answer in answers(app).values())


def test_one_type_is_stopped_alone(app: Shop, catalog: str) -> None:
    assert run(app, "grant", "--catalog", catalog, "--yes") == 0
    assert run(app, "withdraw", "--app", "shop", "--type", "view") == 0
    assert {name: answer.on for name, answer in answers(app).items() if name != "view"} == (
        dict.fromkeys(set(app.catalog.types) - {"view"}, True)
    )
    assert not answers(app)["view"].on


def test_granting_shows_what_is_allowed_and_takes_only_a_clear_yes(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for typed, code in (("", 1), ("\n", 1), ("n\n", 1), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        assert run(app, "grant", "--catalog", catalog, "--type", "view") == code
        assert "May shop share usage reports?" in capsys.readouterr().out
        assert ("view" in answers(app)) == (code == 0)


def test_a_field_left_out_stays_out_when_the_type_is_granted_again(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("grant", "--catalog", catalog, "--type", "view", "--yes")
    assert run(app, *arguments, "--field", "color", "--field", "version") == 0
    assert run(app, *arguments) == 0
    assert answers(app)["view"].fields == {"color", "version"}
    assert "view: without size, as you chose before" in capsys.readouterr().out
    assert run(app, *arguments, "--field", "size") == 0
    assert answers(app)["view"].fields == {"size"}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (["grant", "--yes"], 2),
        (["grant", "--catalog", "{catalog}", "--type", "ghost", "--yes"], 2),
        (["grant", "--catalog", "{catalog}", "--field", "shoe_size", "--yes"], 2),
        (["grant", "--catalog", "no-such-file", "--yes"], 3),
        (["grant", "--app", "sho", "--yes"], 2),
        (["withdraw"], 2),
        (["withdraw", "--all", "--app", "shop"], 2),
        (["withdraw", "--app", "nobody-knows-it"], 2),
        (["history", "--app", "nobody-knows-it"], 2),
        (["dance"], 2),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(
    app: Shop, catalog: str, wrong: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        found = run(app, *(part.format(catalog=catalog) for part in wrong))
    except SystemExit as leaving:
        assert leaving.code == code
    else:
        assert found == code
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert read_answers(app.paths.ledger) == {}


def test_options_count_before_and_after_the_name_of_a_command(app: Shop, catalog: str) -> None:
    assert app.paths.home is not None
    home = ["--home", app.paths.home]
    grant = ["grant", "--catalog", catalog, "--type", "view", "--yes"]
    assert main(["consent", *home, *grant]) == 0
    assert answers(app)["view"].on
    assert main(["consent", "withdraw", *home, "--app", "shop"]) == 0
    assert not answers(app)["view"].on


def test_the_overview_shows_what_overrides_the_answers_and_what_has_changed(
    app: Shop,
    catalog: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(app, "grant", "--catalog", catalog, "--type", "view", "--yes") == 0
    ledger = Path(app.paths.ledger)
    ledger.write_text(ledger.read_text().replace("It is needed for a test.", "Another purpose."))
    monkeypatch.setenv("METHRICS", "disabled")
    assert run(app, "--catalog", catalog) == 0
    out = capsys.readouterr().out
    assert "overridden: " in out
    assert "METHRICS=disabled" in out
    assert "these ask for more than you agreed to" in out
    assert "Another purpose." in out


def test_the_way_back_works_in_this_installation(
    app: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way_back_module.shutil, "which", lambda name: None)
    command = shlex.split(way_back(app.paths, "history"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "no answer has been given yet" in done.stdout


def test_the_way_back_names_the_command_only_where_it_can_run(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(sys.executable).parent
    home = shlex.quote(str(paths.home))
    for found, packages, expected in (
        (here / "methrics", True, f"methrics consent --home {home}"),
        (here / "methrics", False, None),
        (here.parent / "methrics", True, None),
        (None, True, None),
    ):
        monkeypatch.setattr(
            way_back_module.shutil, "which", lambda name, found=found: found and str(found)
        )
        monkeypatch.setattr(
            way_back_module,
            "find_spec",
            lambda name, packages=packages: (
                find_spec(name) if packages or name != "click" else None
            ),
        )
        command = f"{sys.executable} -m methrics.node consent --home {home}"
        assert way_back(paths) == (expected or command)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert way_back(paths) == f"remove the file {shlex.quote(paths.ledger)}"


def test_the_way_back_of_an_app_that_carries_its_packages_along(
    app: Shop, base_packages: str, tmp_path: Path
) -> None:
    """Python alone does not find the packages in the app's folder; the printed command does."""
    python = tmp_path / "python"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(python)], check=True, timeout=120
    )
    vendored = tmp_path / "the app"
    (vendored / "methrics").mkdir(parents=True)
    for part in ("schema", "node"):
        (vendored / "methrics" / part).symlink_to(ROOT / part / "methrics" / part)
    for found in (tmp_path / "site").iterdir():
        (vendored / found.name).symlink_to(found.resolve())
    script = vendored / "main.py"
    script.write_text(
        "from methrics.node.consent.way_back import way_back\n"
        "from methrics.node.paths import user_paths\n"
        f"print(way_back(user_paths({app.paths.home!r}), 'history'))\n"
    )
    start = [str(python / "bin" / "python"), str(script)]
    printed = subprocess.run(start, capture_output=True, text=True, timeout=60, check=False)
    assert printed.stdout.startswith("PYTHONPATH="), printed.stderr
    bare = printed.stdout.partition(f"{python}")[2]
    for command, works in ((printed.stdout, True), (f"{python}{bare}", False)):
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=60, check=False
        )
        assert ("no answer has been given yet" in done.stdout) == works, done.stderr


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">&-", 3, "methrics: standard output is closed (to print nothing, use >/dev/null)\n"),
        (">/dev/full", 3, "methrics: No space left on device\n"),
        ("2>&- <&-", 0, ""),
    ],
)
def test_a_closed_or_full_output_is_one_line(
    app: Shop, redirection: str, code: int, said: str
) -> None:
    assert app.paths.home is not None
    run = f'exec "$0" -m methrics.node consent --home "$1" {redirection}'
    done = subprocess.run(
        ["/bin/sh", "-c", run, sys.executable, app.paths.home],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, said)
