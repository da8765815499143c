"""The keys of an exit: one for each day, for ever, on disk before anybody sees it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.relay.day_keys import ERASED_NAME, DayKeys
from methrics.node.relay.state_folder import StateFolder
from methrics.schema.errors import StoreError
from methrics.schema.wire.limits import DAY

NOW = 20_000 * DAY + 5000


def test_a_restart_finds_the_keys_again(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "relay") as folder:
        before = DayKeys(folder).opening(NOW)
    with StateFolder(tmp_path / "relay") as folder:
        assert DayKeys(folder).opening(NOW) == before
    assert sorted(before) == [20_000 % 256, 20_001 % 256]


def test_keys_are_kept_for_two_days_and_then_erased(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "relay") as folder:
        keys = DayKeys(folder)
        first = keys.of(20_000)
        assert first is not None
        assert first in keys.opening(NOW + 2 * DAY).values()
        assert keys.erase(NOW + 2 * DAY) == 0
        assert keys.erase(NOW + 3 * DAY) == 1
        assert first not in keys.opening(NOW + 3 * DAY).values()
        stored = b"".join(path.read_bytes() for path in Path(folder.path).iterdir())
        assert first.secret not in stored
        assert keys.of(20_000) is None


def test_attack_a_clock_set_back_makes_no_second_key_of_a_day(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "relay") as folder:
        keys = DayKeys(folder)
        keys.opening(NOW)
        keys.erase(NOW + 10 * DAY)
    with StateFolder(tmp_path / "relay") as folder:
        assert DayKeys(folder).opening(NOW) == {}


def test_a_clock_that_is_ahead_for_a_while_erases_nothing(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "relay") as folder:
        keys = DayKeys(folder)
        before = keys.opening(NOW)
        keys.opening(NOW + 400 * DAY)
        assert keys.opening(NOW) == before


@pytest.mark.parametrize("content", [b"short", bytes(32), b"x" * 33])
def test_a_damaged_key_is_no_reason_for_a_new_one(tmp_path: Path, content: bytes) -> None:
    with StateFolder(tmp_path / "relay") as folder:
        DayKeys(folder).opening(NOW)
        Path(folder.file("exit-key.20000")).write_bytes(content)
        with pytest.raises(StoreError):
            DayKeys(folder).opening(NOW)


def test_a_damaged_mark_is_an_error(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "relay") as folder:
        folder.write(ERASED_NAME, b"-1")
        with pytest.raises(StoreError):
            DayKeys(folder)


def test_keys_are_private_files(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "relay") as folder:
        DayKeys(folder).opening(NOW)
        assert os.stat(folder.file("exit-key.20000")).st_mode & 0o777 == 0o600


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=30))
def test_a_day_never_has_two_keys(steps: list[tuple[int, bool]]) -> None:
    keys, seen = DayKeys(None), dict[int, bytes]()
    for day, erase in steps:
        if erase:
            keys.erase(day * DAY)
        for one in (day, day + 1):
            key = keys.of(one)
            if key is not None:
                assert seen.setdefault(one, key.secret) == key.secret
