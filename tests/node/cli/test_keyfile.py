"""Key files of relays and aggregators."""

from __future__ import annotations

from pathlib import Path

import pytest

from methrics.node.cli.keyfile import own_key, read_key
from methrics.schema.errors import ConfigError


def test_the_own_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    seed = own_key(path)
    assert len(seed) == 32
    assert own_key(path) == read_key(path) == seed
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_key_file_of_a_killed_process_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.touch()
    assert own_key(path) == read_key(path)


def test_a_file_that_is_no_key_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.write_text("my notes")
    with pytest.raises(ConfigError):
        own_key(path)
    assert path.read_text() == "my notes"
