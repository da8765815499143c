"""Finds the path by which DuckDB reads or writes a given file and no other.

DuckDB does not take some characters of a path literally, and they cannot be quoted: `* ? [ ]` make
a pattern in `read_parquet`, a backslash counts as a slash, and a path that is not UTF-8 is refused.
Such a path is reached through a symbolic link in a temporary folder, which is removed when the
process ends. A link does not help against one more rule: DuckDB names the log of a database file
after the part of its real path before a `?`, that is, in another folder if a folder's name has one.
"""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path

from methrics.aggregate.store.scratch import ODD, scratch_folder
from methrics.schema.errors import StoreError

_ODD_NAME = re.compile(r"[\\\ud800-\udfff]")
"""Characters that the name of a DuckDB file cannot have. A link to the file does not help, because
DuckDB would write the log of the file beside the link."""

_HINT = "rename it"

_links: dict[str, Path] = {}
_numbers = count()


def plain_path(path: Path) -> Path:
    """Return an absolute path of the folder, or of the file to be read, `path`.

    Raises StoreError `store-name` if the system refuses the link, OSError if `path` is relative and
    the working directory was removed.
    """
    path = path.absolute()
    text = str(path)
    if not ODD.search(text):
        return path
    link = _links.get(text)
    if link is None or not link.is_symlink():
        try:
            link = scratch_folder() / str(next(_numbers))
            link.symlink_to(path)
        except (OSError, NotImplementedError) as error:
            raise StoreError(
                "store-name", f"DuckDB cannot use the name {text!r}: {error}", _HINT
            ) from error
        _links[text] = link
    return link


def plain_file(path: Path, *, writing: bool) -> Path:
    """Return an absolute path of the DuckDB file `path`, beside which DuckDB writes a log.

    Raises as `plain_path` does, and StoreError `store-name` if DuckDB cannot use the name of the
    file, or would look for its log in another folder.
    """
    if _ODD_NAME.search(path.name):
        raise StoreError("store-name", f"DuckDB cannot use the file name {path.name!r}", _HINT)
    real = os.path.realpath(path)
    if "?" in (os.path.dirname(real) if writing else real) and (
        writing or os.path.lexists(f"{real}.wal")
    ):
        raise StoreError(
            "store-name",
            f"DuckDB cannot keep the log of {path} in a folder whose name has a question mark",
            "rename the folder, or choose another",
        )
    return plain_path(path.parent) / path.name
