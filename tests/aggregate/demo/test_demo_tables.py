"""What the demo prints at its end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from methrics.aggregate.cli.demo_tables import snippet


def test_the_commands_of_the_demo_can_be_run_from_a_new_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make demo` runs in an environment that the shell has not activated."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "activate").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert snippet(Path("a.duckdb")).endswith(f"\n  first: source {tmp_path}/bin/activate\n")
    command = tmp_path / "bin" / "methrics"
    command.touch(0o755)
    monkeypatch.setenv("PATH", str(command.parent))
    assert snippet(Path("a.duckdb")).endswith("dau --floor 1\n")
