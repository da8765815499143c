"""`methrics backup`: copies what an aggregator has stored, while it runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from methrics.aggregate.parquet.backup import back_up
from methrics.aggregate.store.parts import directory_beside
from methrics.node.cli.counted import counted, sized
from methrics.node.cli.options import json_option
from methrics.node.cli.times import utc_text


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--check", is_flag=True, help="Verify the files that DIR has already, too.")
@json_option("Print the counts as a JSON object.")
def backup(file: Path, folder: Path, check: bool, as_json: bool) -> None:
    """Copy the reports of FILE into the folder DIR, while an aggregator writes FILE.

    It copies the Parquet beside FILE as of the last export: only files that DIR lacks, each
    verified by its SHA-256. On the same disk they are hard links. What is not current any more is
    removed from DIR, so what was erased goes from there, too. To restore, use
    `methrics aggregate NEW --from DIR`.
    """
    done = back_up(file if file.is_dir() else directory_beside(file), folder, check_all=check)
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    click.echo(
        f"{folder} has the state of {utc_text(done.written)}: {counted(done.files, 'file')}, "
        f"{done.new:,} new ({sized(done.new_bytes)}), {done.removed:,} removed"
    )
