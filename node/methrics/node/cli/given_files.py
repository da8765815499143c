"""Reads the files of catalogs and records that an operator gives, and reads them again on SIGHUP.

A bad file ends the command at its start. Later it is refused with a line, and the command goes on
with what it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.record_file import load_record
from methrics.node.relay.given import Given
from methrics.schema.errors import LocalError


@dataclass(slots=True)
class GivenFiles:
    """The files of catalogs and records on a command line."""

    catalog_paths: Sequence[Path]
    record_paths: Sequence[Path]
    _known: dict[Path, bytes] = field(default_factory=dict)
    """path -> the id of what was read from it last"""

    def first(self) -> Given:
        """Return what all files hold. Raises CatalogError or ConfigError for a bad file."""
        given = self.again()
        for _, error in given.refused:
            raise error
        return given

    def again(self) -> Given:
        """Return what files hold that differs from the last call, and the files that are bad."""
        catalogs, records, refused = [], [], []
        for path in self.catalog_paths:
            try:
                catalog = load_catalog(path)
            except LocalError as error:
                refused.append((str(path), error))
                continue
            if self._differs(path, catalog.id):
                catalogs.append((str(path), catalog))
        for path in self.record_paths:
            try:
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


async def reload_files(files: GivenFiles, to: trio.MemorySendChannel[Given]) -> None:
    """Read the files again and send what has changed."""
    await to.send(await trio.to_thread.run_sync(files.again))
