"""Reads the files of catalogs and records that an operator gives, and reads them again on SIGHUP.

A bad file ends the command at its start. Later it is refused with a line, and the command goes on
with what it had. What is no regular file, such as a pipe, is read at the start only: to open it
again would wait for another writer, perhaps for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.record_file import load_record
from methrics.node.relay.given import Given
from methrics.schema.errors import ConfigError, LocalError


@dataclass(slots=True)
class GivenFiles:
    """The files of catalogs and records on a command line."""

    catalog_paths: Sequence[Path]
    record_paths: Sequence[Path]
    _known: dict[Path, bytes] = field(default_factory=dict)
    """path -> the id of what was read from it last"""

    def first(self) -> Given:
        """Return what all files and pipes hold. Raises CatalogError or ConfigError for a bad
        one."""
        given = self._read()
        for _, error in given.refused:
            raise error
        return given

    def again(self) -> Given:
        """Return what files hold that differs from the last call, and the files that are bad or
        cannot be read twice."""
        return self._read(check=check_regular)

    def _read(self, check: Callable[[Path], None] = lambda path: None) -> Given:
        """Read each path that `check` lets pass; it raises a LocalError for the others."""
        catalogs, records, refused = [], [], []
        for path in self.catalog_paths:
            try:
                check(path)
                catalog = load_catalog(path)
            except LocalError as error:
                refused.append((str(path), error))
                continue
            if self._differs(path, catalog.id):
                catalogs.append((str(path), catalog))
        for path in self.record_paths:
            try:
                check(path)
                item = load_record(path)
            except LocalError as error:
                refused.append((str(path), error))
                continue
            if self._differs(path, item.id):
                records.append((str(path), item))
        return Given(catalogs, records, refused)

    def _differs(self, path: Path, found: bytes) -> bool:
        before = self._known.get(path)
        self._known[path] = found
        return before != found


def check_regular(path: Path) -> None:
    """Raise ConfigError if `path` exists and is no regular file. Reading says what else is wrong
    with it."""
    if path.exists() and not path.is_file():
        raise ConfigError(
            "no-regular-file",
            f"{path} is no regular file, and is read at the start only",
            "restart to use what it gives now, or give a file",
        )


async def reload_files(files: GivenFiles, to: trio.MemorySendChannel[Given]) -> None:
    """Read the files again and send what has changed."""
    await to.send(await trio.to_thread.run_sync(files.again))
