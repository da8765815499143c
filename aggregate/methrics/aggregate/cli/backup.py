"""`methrics backup`: copies what an aggregator has stored, while it runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from methrics.aggregate.cli.sharding import read_shard
from methrics.aggregate.parquet.backup import back_up
from methrics.aggregate.store.parts import directory_beside
from methrics.node.cli.counted import counted, sized
from methrics.node.cli.options import json_option
from methrics.node.cli.times import utc_text
from methrics.node.cli.typed import Typed
from methrics.schema.wire.shard import Shard


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--check", is_flag=True, help="Verify the files that DIR has already, too.")
@click.option(
    "--shard",
    type=Typed("shard", Shard, read_shard),
    metavar="I/N",
    help="Of a lake, copy only the part of this shard, and leave the parts of others in DIR alone.",
)
@json_option("Print the counts as a JSON object.")
def backup(file: Path, folder: Path, check: bool, shard: Shard | None, as_json: bool) -> None:
    """Copy the reports of FILE into the folder DIR, while an aggregator writes FILE.

    It copies the Parquet beside FILE as of the last export: only files that DIR lacks, each
    verified by its SHA-256. On the same disk they are hard links. What is not current any more is
    removed from DIR, so what was erased goes from there, too. To restore, use
    `methrics aggregate NEW --from DIR`.

    FILE may also be a directory of Parquet, such as the lake to which several shards write. DIR is
    then a lake, too. If the part of a shard is missing, nothing is copied.
    """
    directory = file if file.is_dir() else directory_beside(file)
    done = back_up(directory, folder, check_all=check, only=shard)
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    click.echo(
        f"{folder} has the state of {utc_text(done.written)}: {counted(done.files, 'file')}, "
        f"{done.new:,} new ({sized(done.new_bytes)}), {done.removed:,} removed"
    )
