"""A pipe, a device or a folder in place of a file is an error, and is never waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from methrics.node.process.regular import read_regular


def test_the_first_bytes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    (tmp_path / "link").symlink_to(path)
    assert read_regular(str(path), 1000) == bytes(range(100))
    assert read_regular(str(tmp_path / "link"), 10) == bytes(range(10))
    assert read_regular(str(path), 0) == b""


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_anything_else_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    before = set(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match=r"[Nn]ot a regular file|[Ii]s a directory"):
        read_regular(str(path), 10)
    assert set(os.listdir("/dev/fd")) <= before, "no descriptor stays open"


@pytest.mark.parametrize("path", ["\0", "\ud800"])
def test_a_name_that_no_file_can_have(path: str) -> None:
    with pytest.raises(ValueError, match=r"null byte|surrogates"):
        read_regular(path, 10)
