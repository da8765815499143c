"""The code blocks of each guide run as printed, from the installation on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import source
from tests import fresh, guides

from methrics.node.cli.tables import table_lines

NOT_RUN = {
    "docs/catalog.md": 1,
    "docs/consent.md": 1,
    "docs/embed.md": 2,
    "docs/notebooks.md": 2,
    "docs/operate.md": 6,
    "docs/own-data.md": 3,
    "docs/scale.md": 1,
    "docs/start.md": 2,
    "docs/examples/pytest_plugin/README.md": 2,
}
"""How many blocks of a guide cannot run in a test. Each one states its reason."""

PAGES = [
    "README.md",
    *(f"docs/{path.name}" for path in sorted((source.ROOT / "docs").glob("*.md"))),
    "docs/examples/pytest_plugin/README.md",
]
GUIDES = [
    name
    for name in PAGES
    if any(one.language in guides.RUNNABLE and not one.note for one in guides.blocks(name))
]

MIDNIGHT = 1_200.0
"""Seconds around midnight in which no guide is begun: half of them before it."""


class Readers:
    """Works through each guide once, after the guide that it continues."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done: dict[str, guides.Reader] = {}
        self._failed: dict[str, BaseException] = {}

    def after(self, name: str) -> guides.Reader:
        """The reader who has worked through a guide; raises what went wrong there."""
        if name in self._failed:
            raise self._failed[name]
        if name not in self._done:
            reader = guides.Reader(self._folder / name.replace("/", "-"), self._env())
            previous = guides.before(name)
            if previous:
                reader.continue_from(self.after(previous))
            else:
                check_out(reader.folder / "methrics")
                (reader.folder / "app").mkdir()
                reader.start_in("methrics" if name == "README.md" else "app")
            wait_out_midnight()
            try:
                reader.work_through(name)
            except BaseException as problem:
                self._failed[name] = problem
                raise
            self._done[name] = reader
        return self._done[name]

    def _env(self) -> dict[str, str]:
        """The environment of a new user: without the one in which the tests run."""
        own = {str(Path(sys.executable).parent), str(Path(sys.prefix) / "bin")}
        path = [one for one in os.environ["PATH"].split(os.pathsep) if one not in own]
        return fresh.without_compiler(os.pathsep.join(path))


def wait_out_midnight() -> None:
    """Wait if a day in UTC begins soon or has just begun. A guide records with a clock that is ten
    minutes slow, and a report of the day before its catalog was listed is not sent."""
    since = (time.time() + MIDNIGHT / 2) % 86_400
    if since < MIDNIGHT:
        time.sleep(MIDNIGHT - since)


def check_out(folder: Path) -> None:
    """Copy the files of this checkout that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=source.ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (source.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source.ROOT / name, folder / name)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    """Readers who share their work within this module."""
    folder = tmp_path_factory.mktemp("readers")
    yield Readers(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_runs_as_printed(name: str, readers: Readers, nobody: Path) -> None:
    try:
        readers.after(name)
    except AssertionError as problem:
        fresh.skip_offline(str(problem))
        raise


def test_blocks_that_cannot_run_are_few_and_give_a_reason() -> None:
    found = {}
    for name in PAGES:
        marked = [one for one in guides.blocks(name) if one.note == "not run"]
        assert all(len(one.said) > 10 and one.language in guides.RUNNABLE for one in marked)
        if marked:
            found[name] = len(marked)
    assert found == NOT_RUN


def test_no_command_hides_in_a_block_that_does_not_run() -> None:
    for name in PAGES:
        for block in guides.blocks(name):
            if block.language not in guides.RUNNABLE:
                assert not re.search(r"^\$ ", block.code, re.MULTILINE), f"{name}:\n{block.code}"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n...\nc\n", "a\nb\nb\nc\n", True),
        ("a\n...\nc\n", "a\nc\n", True),
        ("setup: creating .../.venv\n", "setup: creating /home/x/.venv\n", True),
        ("on 2026-11-25 at /tcp/1, 3 s\n", "on 2027-01-02 at /tcp/45471, 37.7 s\n", True),
        ("a\n", "a\nb\n", False),
        ("150 reports\n", "151 reports\n", False),
    ],
)
def test_shown_output_is_compared_apart_from_what_varies(
    shown: str, printed: str, same: bool
) -> None:
    assert guides.shows(shown, printed) is same


def test_a_console_block_is_commands_and_their_output() -> None:
    code = "$ one \\\n    more\nout\n$ two\n"
    assert list(guides.commands(code)) == [("one \\\n    more\n", "out\n"), ("two\n", "")]


def test_the_readme_shows_what_the_demo_prints() -> None:
    """The README's long block is a shortened output of the demo: its headings are in the code."""
    readme = (source.ROOT / "README.md").read_text("utf-8")
    printed = (source.ROOT / "aggregate/methrics/aggregate/cli/demo_tables.py").read_text("utf-8")
    for line in ("Installs per day", "Sign-ins that reached each step", "The same set in both"):
        assert line in readme
        assert line in printed
    days = [("2026-11-25", 17), ("2026-11-26", 15), ("2026-11-27", 18)]
    table = "\n".join(table_lines(("day", "installs"), days, indent=2))
    assert table in readme, "the table in the README is laid out as the demo prints it"
