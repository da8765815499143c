"""Writes `views.duckdb` of a lake, over the files of all shards: each writes it in its turn."""

from __future__ import annotations

from pathlib import Path

from methrics.aggregate.parquet.lake import by_shard, read_numbers, read_shards
from methrics.aggregate.parquet.views_file import ViewsFile
from methrics.aggregate.store.duck import memory
from methrics.schema.wire.shard import Shard

TRIES = 10
"""How often the views are written again because another shard has written meanwhile."""


def write_lake_views(views: ViewsFile, directory: Path, shard: Shard) -> None:
    """Replace the views by those over the current files of all shards. Raises StoreError.

    Whoever writes last looks again afterwards: so the views that stay are over newest manifests.
    They name the files by their real paths, which have to be the same on all machines of the lake.
    """
    directory = directory.resolve()
    shards = read_shards(directory, shard.count)
    for _ in range(TRIES):
        con = memory()
        try:
            numbers = read_numbers(con, directory, shards)
        finally:
            con.close()
        tables = shards.merged().tables()
        sql = {}
        for table in tables:
            schema, _, own = table.rpartition(".")
            files = by_shard(shards, directory, table)
            sql[table] = numbers.rows((schema or "main", own), files)
        views.replace(sql, shard.folder)
        before, shards = shards, read_shards(directory, shard.count)
        if shards == before:
            return
