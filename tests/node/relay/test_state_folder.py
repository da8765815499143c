"""The folder of a relay: private, used by one process at a time, and never half written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from methrics.node.relay.state_folder import LOCK_NAME, SEED_NAME, StateFolder
from methrics.schema.errors import ConfigError, StoreError


def mode(path: str | Path) -> int:
    return os.stat(path).st_mode & 0o777


def test_the_seed_is_made_once_and_private(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "a" / "relay") as state:
        seed = state.seed()
        assert len(seed) == 32
        assert state.seed() == seed
        assert mode(state.path) == 0o700
        assert mode(state.file(SEED_NAME)) == 0o600
    with StateFolder(tmp_path / "a" / "relay") as state:
        assert state.seed() == seed
    with StateFolder(tmp_path / "b") as other:
        assert other.seed() != seed


def test_a_second_relay_is_told_to_name_another_folder(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "relay"):
        with pytest.raises(ConfigError) as caught:
            StateFolder(tmp_path / "relay")
        assert caught.value.code == "state-busy"
        assert "--state" in str(caught.value)
    StateFolder(tmp_path / "relay").close()


def test_a_folder_with_other_files_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    os.chmod(tmp_path, 0o755)
    with pytest.raises(ConfigError) as caught:
        StateFolder(tmp_path)
    assert caught.value.code == "state-foreign"
    assert os.listdir(tmp_path) == ["letter.txt"]
    assert mode(tmp_path) == 0o755


def test_an_empty_folder_of_a_service_manager_becomes_private(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    with StateFolder(tmp_path) as state:
        assert mode(state.path) == 0o700
        assert mode(state.file(LOCK_NAME)) == 0o600


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        StateFolder(tmp_path / "file" / "relay")
    assert caught.value.code == "state-unwritable"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    with StateFolder(tmp_path) as state:
        assert state.read("keys", limit=9) is None
        state.write("keys", b"one")
        state.write("keys", b"two")
        assert state.read("keys", limit=3) == b"two"
        assert mode(state.file("keys")) == 0o600
        with pytest.raises(StoreError) as caught:
            state.read("keys", limit=2)
        assert caught.value.code == "state-damaged"
        state.remove("keys")
        state.remove("keys")
        assert state.read("keys", limit=3) is None
        assert os.listdir(tmp_path) == [LOCK_NAME]


def test_a_seed_of_another_size_is_not_replaced(tmp_path: Path) -> None:
    with StateFolder(tmp_path) as state:
        state.write(SEED_NAME, b"short")
        with pytest.raises(StoreError) as caught:
            state.seed()
        assert caught.value.code == "state-damaged"


def test_attack_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"secret")
    with StateFolder(tmp_path / "relay") as state:
        os.symlink(tmp_path / "target", state.file("keys"))
        with pytest.raises(StoreError) as caught:
            state.read("keys", limit=9)
        assert caught.value.code == "state-unreadable"
        state.write("keys", b"new")
    assert (tmp_path / "target").read_bytes() == b"secret"


def test_a_full_disk_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with StateFolder(tmp_path) as state:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreError) as caught:
            state.seed()
        assert caught.value.code == "state-unwritable"
        assert os.listdir(tmp_path) == [LOCK_NAME]
