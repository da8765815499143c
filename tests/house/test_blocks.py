"""The code blocks of each guide run in order, as a reader would paste them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import source

from methrics.aggregate.demo.sample import write_sample
from methrics.node.cli.tables import table_lines
from methrics.schema.example import example_bytes, example_source

BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GUIDES = [
    "README.md",
    "docs/start.md",
    "docs/embed.md",
    "docs/consent.md",
    "docs/analyse.md",
    "docs/notebooks.md",
    "docs/trails.md",
    "docs/otel.md",
    "docs/mixpanel.md",
    "docs/simulate.md",
]
"""Guides whose `python` and `sh` blocks run; blocks that need a network or install are `text`."""


def blocks(name: str) -> list[tuple[str, str]]:
    return BLOCK.findall((source.ROOT / name).read_text("utf-8"))


@pytest.fixture
def place(tmp_path: Path, nobody: Path) -> Path:
    """A folder with the files that the guides use: a catalog source, its signed form, some data."""
    (tmp_path / "app.toml").write_text(example_source(), "utf-8")
    (tmp_path / "app.cbor").write_bytes(example_bytes())
    shutil.copy(source.ROOT / "docs/examples/otel.cbor", tmp_path)
    write_sample(tmp_path / "metrics.duckdb", people=3, days=2)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_guide(guide: str, place: Path) -> None:
    found = blocks(guide)
    assert found
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    python = ""
    for language, code in found:
        if language == "sh":
            command = ["bash", "-euc", code]
        else:
            python += code
            command = [sys.executable, "-W", "error", "-c", python]
        done = subprocess.run(
            command, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, f"{guide}:\n{code}\n{done.stdout}{done.stderr}"


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
