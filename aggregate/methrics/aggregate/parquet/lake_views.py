"""Writes `views.duckdb` of a lake, over the files of all shards: each writes it in its turn."""

from __future__ import annotations

from pathlib import Path

from methrics.aggregate.parquet.lake import DICTIONARIES, by_shard, read_numbers, read_shards
from methrics.aggregate.parquet.views_file import ViewsFile
from methrics.aggregate.store.duck import literal, memory
from methrics.schema.wire.shard import Shard

TRIES = 10
"""How often the views are written again because another shard has written meanwhile."""


def write_lake_views(views: ViewsFile, directory: Path, shard: Shard) -> None:
    """Replace the views by those over the current files of all shards. Raises StoreError.

    Whoever writes last looks again afterwards: so the views that stay are over newest manifests.
    They name the files by their real paths, which have to be the same on all machines of the lake.
    While the part of a shard is missing, each query of a table fails and names it.
    """
    directory = directory.resolve()
    shards = read_shards(directory, shard.count)
    for _ in range(TRIES):
        con = memory()
        try:
            dictionaries = {
                table: by_shard(shards, directory, table) for table in (*DICTIONARIES, "record")
            }
            numbers = read_numbers(con, directory, dictionaries)
        finally:
            con.close()
        tables = shards.merged(directory).tables()
        sql = {}
        for table in tables:
            schema, _, own = table.rpartition(".")
            files = by_shard(shards, directory, table)
            sql[table] = numbers.rows((schema or "main", own), files)
            if shards.missing:
                lack = literal(f"{directory} has {shards.lack()}")
                # A query that is evaluated whatever rows are asked for, even if there are none.
                sql[table] = f"{sql[table]} WHERE (SELECT error({lack})) IS NULL"
        views.replace(sql, shard.folder)
        before, shards = shards, read_shards(directory, shard.count)
        if shards == before:
            return
