"""The manifest of a Parquet directory: what is written is read again, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.aggregate.parquet import manifest as module
from methrics.aggregate.parquet.manifest import (
    ClosedDays,
    Day,
    File,
    Manifest,
    decode_manifest,
    encode_manifest,
)
from methrics.aggregate.store.tables import LAYOUT_VERSION
from methrics.node.network.peer_ids import peer_id_of
from methrics.schema.errors import StoreError
from methrics.schema.wire.shard import COUNTS, shards_of

ONE = File(
    "types/example/heartbeat/2026-11/3f2a9c01.parquet",
    "example.heartbeat",
    date(2026, 11, 1),
    123,
    4567,
    "ab" * 32,
    True,
)
WHOLE = Manifest(
    "2026-11-29T12:00:00+00:00",
    (ONE, File("dictionary/type.00000001.parquet", "type", None, 2, 300, "cd" * 32, False)),
    {"example": {date(2026, 11, 28): Day(b"k" * 32, 123, b"d" * 32)}},
    7,
)

names = st.text("abc019_", min_size=1, max_size=9)
hashes = st.binary(min_size=32, max_size=32)
sizes = st.integers(0, module.SIZE_MAX)
files = st.builds(
    File,
    st.builds("{}/{}.parquet".format, names, names),
    st.one_of(names, st.builds("{}.{}".format, names, names)),
    st.none() | st.builds(date, st.integers(1970, 2200), st.integers(1, 12), st.just(1)),
    sizes,
    sizes,
    hashes.map(bytes.hex),
    st.booleans(),
)
manifests = st.builds(
    Manifest,
    st.just(WHOLE.written),
    st.lists(files, max_size=4, unique_by=lambda one: one.name).map(tuple),
    st.dictionaries(
        names,
        st.dictionaries(st.dates(date(1970, 1, 1)), st.builds(Day, hashes, sizes, hashes)),
        max_size=2,
    ),
    sizes,
    st.sampled_from([shard for count in COUNTS for shard in shards_of(count)]),
    st.dictionaries(
        names,
        st.dictionaries(
            hashes.map(peer_id_of), st.builds(ClosedDays, sizes, sizes, sizes), max_size=2
        ),
        max_size=2,
    ),
)


@given(manifests)
def test_what_is_written_is_read_again(manifest: Manifest) -> None:
    assert decode_manifest(encode_manifest(manifest), "here") == manifest


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["layout", "written", "files", "days", "tombstones", "count", "name", "shard"]
                ),
                inner,
                max_size=7,
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_other_text_is_one_clear_error(text: bytes) -> None:
    with pytest.raises(StoreError) as caught:
        decode_manifest(text, "here")
    assert caught.value.code in {"store-foreign", "store-version"}
    assert "\n" not in str(caught.value)


def harmed(**changes: object) -> bytes:
    """A manifest whose first file has other values."""
    text = json.loads(encode_manifest(WHOLE))
    text["files"][0].update(changes)
    return json.dumps(text).encode()


@pytest.mark.parametrize(
    "name",
    [
        "../../.ssh/id_rsa.parquet",
        "/etc/passwd.parquet",
        "types/../../x.parquet",
        "types/./x.parquet",
        "types//x.parquet",
        "types\\..\\x.parquet",
        "http://evil.example/x.parquet",
        "types/x.parquet?signed=1",
        "types/*.parquet",
        "types/x.duckdb",
        "x.parquet\n",
        "a/" * 9 + "x.parquet",
        "a/" + "x" * 300 + ".parquet",
        "dictionary/type.00000001.parquet",
        "",
        7,
        None,
    ],
)
def test_attack_a_name_that_is_no_file_of_the_directory(name: object) -> None:
    with pytest.raises(StoreError) as caught:
        decode_manifest(harmed(name=name), "here")
    assert caught.value.code == "store-foreign"


@pytest.mark.parametrize(
    "changes",
    [
        {"table": 'item"; DROP TABLE x'},
        {"table": "a.b.c"},
        {"month": "2026-13"},
        {"month": 2026},
        {"rows": -1},
        {"rows": True},
        {"bytes": 1 << 60},
        {"bytes": 1.5},
        {"sha256": "AB" * 32},
        {"sha256": "ab"},
        {"settled": 1},
    ],
)
def test_attack_a_value_of_another_kind(changes: dict[str, object]) -> None:
    with pytest.raises(StoreError) as caught:
        decode_manifest(harmed(**changes), "here")
    assert caught.value.code == "store-foreign"


def test_attack_a_huge_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILES_MAX", 1)
    with pytest.raises(StoreError, match="cannot be read"):
        decode_manifest(encode_manifest(WHOLE), "here")
    one = replace(WHOLE, files=(ONE,))
    assert decode_manifest(encode_manifest(one), "here") == one
    monkeypatch.setattr(module, "MANIFEST_MAX", 10)
    with pytest.raises(StoreError, match="cannot be read"):
        decode_manifest(encode_manifest(one), "here")


def test_another_layout_says_which() -> None:
    text = json.loads(encode_manifest(WHOLE)) | {"layout": LAYOUT_VERSION + 1}
    with pytest.raises(StoreError, match=f"has layout {LAYOUT_VERSION + 1}") as caught:
        decode_manifest(json.dumps(text).encode(), "here")
    assert caught.value.code == "store-version"


def test_files_are_grouped_by_table() -> None:
    assert WHOLE.tables() == {"example.heartbeat": [ONE], "type": [WHOLE.files[1]]}
    assert [one.place for one in WHOLE.files] == [("example", "heartbeat"), ("main", "type")]
