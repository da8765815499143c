"""The file of the kept entries: private, replaced as a whole, and never in the way."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.paths import Paths
from methrics.node.publish.entries import KeptEntries, KeptEntry, Source
from methrics.node.publish.kept_entry import FILE_MAX, EntryFile, dump, parse

ONE = KeptEntry("/ip4/192.0.2.7/tcp/1/p2p/x", Source.APP, 5, 9, ("/ip4/192.0.2.8/tcp/1/p2p/y",))
KEPT = KeptEntries((ONE,), ("https://relay.example",))


def file_in(folder: Path) -> EntryFile:
    return EntryFile(Paths(str(folder), str(folder)), lambda _seconds: None)


def test_what_was_kept_is_read_again_and_is_private(tmp_path: Path) -> None:
    assert file_in(tmp_path / "new").update(lambda kept: (KEPT, kept)) == KeptEntries()
    path = tmp_path / "new" / "entries.json"
    assert file_in(tmp_path / "new").load() == KEPT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(os.listdir(path.parent)) == ["entries.json", "entries.json.lock"]


def test_reading_makes_no_file(tmp_path: Path) -> None:
    file_in(tmp_path / "none").load()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"{}", dump(KEPT)[:-3], b" " * FILE_MAX * 2],
)
def test_a_damaged_file_counts_as_none_and_is_replaced(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "entries.json").write_bytes(damage)
    file = file_in(tmp_path)
    assert file.update(lambda kept: (KEPT, kept)) == KeptEntries()
    assert file_in(tmp_path).load() == KEPT


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "entries.json")
    assert file_in(tmp_path).load() == KeptEntries()


def test_without_a_disk_the_entries_are_kept_in_memory() -> None:
    file = EntryFile(Paths("/dev/null/methrics", "/dev/null/methrics"), lambda _seconds: None)
    file.update(lambda kept: (KEPT, None))
    assert file.load() == KEPT
    assert file.update(lambda kept: (KeptEntries(), kept)) == KEPT
    assert file.load() == KeptEntries()


def test_a_lock_that_is_held_for_long_stops_nobody(tmp_path: Path) -> None:
    first, second = file_in(tmp_path), file_in(tmp_path)

    def within(kept: KeptEntries) -> tuple[KeptEntries, None]:
        second.update(lambda kept: (KEPT, None))
        return kept, None

    first.update(within)
    assert first.load() == KEPT


ENTRIES = st.builds(
    KeptEntry,
    st.text(min_size=1, max_size=40),
    st.sampled_from(Source),
    *[st.integers(0, 1 << 40)] * 2,
    st.lists(st.text(min_size=1, max_size=20), max_size=3).map(tuple),
    st.booleans(),
    *[st.integers(0, 1 << 40)] * 3,
)


@given(
    st.builds(
        KeptEntries,
        st.lists(ENTRIES, max_size=4).map(tuple),
        st.lists(st.text(min_size=1, max_size=20), max_size=3).map(tuple),
    )
)
def test_what_is_written_is_read(kept: KeptEntries) -> None:
    assert parse(dump(kept)) == kept


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(json.loads(dump(KEPT))["drawn"][0])), JSON)
def test_any_other_value_is_refused_or_read(name: str, value: object) -> None:
    document = json.loads(dump(KEPT))
    document["drawn"][0][name] = value
    try:
        kept = parse(json.dumps(document).encode())
    except ValueError:
        return
    assert parse(dump(kept)) == kept


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse(data)
