"""The settled Parquet files that belong to a DuckDB file, as its table `part` lists them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from methrics.aggregate.parquet.directory import places
from methrics.aggregate.parquet.manifest import File
from methrics.aggregate.store.duck import Connection, name
from methrics.schema.errors import StoreError


@dataclass(frozen=True, slots=True)
class Settled:
    """The settled files of a DuckDB file, in `directory`, and the number of dead rows in them."""

    directory: Path
    files: dict[tuple[str, str], list[File]] = field(default_factory=dict)
    dead: int = 0

    def paths(self, place: tuple[str, str]) -> list[Path]:
        """Return the paths of the settled files of a table."""
        return [path for _, path in self.pairs(place)]

    def pairs(self, place: tuple[str, str]) -> list[tuple[File, Path]]:
        """Return the settled files of a table, each with its path."""
        files = self.files.get(place, [])
        return list(zip(files, places(self.directory, files), strict=True))


def read_settled(con: Connection, alias: str, directory: Path) -> Settled:
    """Read which settled files belong to the file attached as `alias`.

    Raises StoreError store-missing if one of them is not in `directory`.
    """
    found = con.execute(
        'SELECT name, "table", month, rows, size, sha256 '
        f"FROM {name(alias, 'main', 'part')} WHERE settled ORDER BY month, name"
    ).fetchall()
    files: dict[tuple[str, str], list[File]] = {}
    for part, table, month, rows, size, sha256 in found:
        one = File(part, table, month, rows, size, sha256.hex(), True)
        files.setdefault(one.place, []).append(one)
    _check(directory, (one for own in files.values() for one in own))
    row = con.execute(f"SELECT count(*) FROM {name(alias, 'main', 'dead')}").fetchone()
    return Settled(directory, files, row[0] if row else 0)


def _check(directory: Path, files: Iterable[File]) -> None:
    for one, path in zip(files := list(files), places(directory, files), strict=True):
        if not path.is_file():
            raise StoreError(
                "store-missing",
                f"{directory / one.name} is missing, which has the months that are settled",
                "keep the DuckDB file and the directory beside it together",
            )
