"""Notebooks run from top to bottom, offline, with every warning an error, and are stored clean."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import source

NOTEBOOKS = sorted((source.ROOT / "notebooks").glob("*.ipynb"))


def cells(path: Path, kind: str) -> list[str]:
    document = json.loads(path.read_text("utf-8"))
    return ["".join(one["source"]) for one in document["cells"] if one["cell_type"] == kind]


def test_there_is_one_to_start_from() -> None:
    assert [path.name for path in NOTEBOOKS if path.stem == "start"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    code = "\n".join(cells(path, "code"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_asks_a_question_and_is_stored_without_output(path: Path) -> None:
    assert cells(path, "markdown")[0].splitlines()[0].endswith("?")
    document = json.loads(path.read_text("utf-8"))
    kinds = [one["cell_type"] for one in document["cells"]]
    assert all(before != "code" or kind != "code" for before, kind in pairwise(kinds)), (
        "prose stands before each code cell"
    )
    assert not [
        one for one in document["cells"] if one.get("outputs") or one.get("execution_count")
    ]
    assert max(len(code.splitlines()) for code in cells(path, "code")) <= 15
