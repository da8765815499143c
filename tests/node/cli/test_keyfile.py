"""Key files of relays and aggregators."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize("left", [False, True], ids=["new", "empty"])
def test_only_its_owner_can_read_a_key_whatever_the_umask_is(tmp_path: Path, left: bool) -> None:
    path = tmp_path / "a.key"
    before = os.umask(0)
    try:
        if left:
            path.touch()  # by a process that was killed, readable by all
        own_key(path)
    finally:
        os.umask(before)
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
