"""Where a user's files are: absolute paths, or one clear error; never a folder named `~`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node import paths as module
from methrics.node.paths import POLICY_FILE, no_paths, user_paths
from methrics.schema.errors import ConfigError


@pytest.fixture
def no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """This user has no entry in the password database."""
    monkeypatch.setattr(module, "_entry_folder", lambda: "")


def test_the_platforms_folders() -> None:
    env = {"HOME": "/home/ada"}
    found = user_paths(env=env, platform="linux")
    assert (found.data, found.config, found.policy, found.home) == (
        "/home/ada/.local/share/methrics",
        "/home/ada/.config/methrics",
        POLICY_FILE,
        None,
    )
    assert user_paths(env=env, platform="darwin").ledger == (
        "/home/ada/Library/Application Support/methrics/consent.json"
    )


def test_xdg_folders_are_used_if_absolute() -> None:
    env = {"HOME": "/h", "XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": "relative"}
    found = user_paths(env=env, platform="linux")
    assert (found.data, found.config) == ("/data/methrics", "/h/.config/methrics")


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("env", [{}, {"HOME": ""}, {"HOME": "~"}, {"HOME": "relative"}])
def test_without_a_home_folder_there_are_no_paths(
    no_entry: None, env: dict[str, str], platform: str
) -> None:
    for home in (None, "", "~", "~/data"):
        with pytest.raises(ConfigError, match="METHRICS_HOME") as raised:
            user_paths(home, env=env, platform=platform)
        assert raised.value.code == "no-home"


def test_without_a_home_folder_absolute_settings_suffice(no_entry: None) -> None:
    assert user_paths("/data", env={}).data == "/data"
    assert user_paths(env={"METHRICS_HOME": "/data"}).data == "/data"
    env = {"XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c"}
    assert user_paths(env=env, platform="linux").ledger == "/c/methrics/consent.json"


def test_the_password_database_replaces_an_unusable_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_entry_folder", lambda: "/home/ada")
    for env in ({}, {"HOME": ""}, {"HOME": "~"}):
        assert user_paths(env=env, platform="linux").data == "/home/ada/.local/share/methrics"


def test_an_empty_variable_or_home_counts_as_absent() -> None:
    env = {"HOME": "/home/ada", "METHRICS_HOME": ""}
    assert user_paths(env=env, platform="linux").home is None
    assert user_paths("", env={"METHRICS_HOME": "/data"}).home == "/data"


def test_an_unknown_users_folder_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no home folder is known for ~no-such-user/x"):
        user_paths("~no-such-user/x")
    assert user_paths("./~odd").data == os.path.join(os.getcwd(), "~odd")


def test_a_home_below_ones_own() -> None:
    assert user_paths("~/data", env={"HOME": "/home/ada"}).data == "/home/ada/data"
    assert user_paths("~", env={"HOME": "/home/ada"}).data == "/home/ada"


@given(st.one_of(st.text(max_size=12), st.binary(max_size=12), st.integers(), st.none()))
def test_paths_are_absolute_or_refused(home: object) -> None:
    try:
        found = user_paths(home, env={"HOME": "/home/ada"}, platform="linux")  # type: ignore[arg-type]
    except ConfigError as error:
        assert error.code in ("bad-setting", "no-home")
        return
    for path in (found.data, found.config, found.ledger, found.policy):
        assert os.path.isabs(path)
        assert os.fsencode(path)
        assert "\0" not in path


def test_no_file_can_be_made_without_a_folder(tmp_path: Path) -> None:
    found = no_paths()
    with pytest.raises(OSError, match="Not a directory"):
        os.makedirs(os.path.dirname(found.ledger))
    assert not os.path.exists(found.policy)
