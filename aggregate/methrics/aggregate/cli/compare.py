"""`methrics compare`: tells whether two data sets or aggregators have the same reports."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import click

from methrics.aggregate.cli.compare_ids import with_ids
from methrics.aggregate.cli.compare_peer import is_peer, peer_side
from methrics.aggregate.cli.exit_codes import NO
from methrics.aggregate.parquet.download import is_address
from methrics.aggregate.parquet.manifest import Manifest
from methrics.aggregate.read.compare import Compared, Side, side_of
from methrics.aggregate.read.compare import compare as compared
from methrics.aggregate.read.dataset import open_files
from methrics.aggregate.read.lake_sources import Lake
from methrics.aggregate.read.sources import Listed
from methrics.aggregate.store.digest import DayDigest, digests
from methrics.node.cli.counted import counted
from methrics.node.cli.times import utc_text

SHOWN_IDS = 3
"""Ids that are shown of each side and day if the user does not say how many."""

SHOWN_MAX = 20
"""Most days that are printed. --json prints all."""

_EPOCH = date(1970, 1, 1)


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--check",
    is_flag=True,
    help="Compute the digests of a directory or address from its rows, instead of taking those in "
    "its manifest.",
)
@click.option(
    "--ids",
    type=click.IntRange(min=0, max=1000),
    help="Ids to show of the reports that only one side has, for each side and day. [default: 3; "
    "none if they would have to be fetched from a web address]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.pass_context
def compare(
    ctx: click.Context, a: str, b: str, check: bool, ids: int | None, as_json: bool
) -> None:
    """Tell whether A and B have the same reports, and if not, on which days they differ.

    A and B are DuckDB files, directories of Parquet, or addresses of such directories. One of them
    can be a running aggregator such as /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW... Exit code 1 if they
    differ. Reports that have arrived at one and not yet at the other are a difference; of a file
    that an aggregator writes, the Parquet beside it is compared, as of the last export. Of the
    first 20 days that differ, some reports are named that only one of the two has.
    """
    sides = _sides([a, b], check)
    if ids is None:
        ids = 0 if not check and any(map(is_address, (a, b))) else SHOWN_IDS
    found = with_ids(compared(*sides), (a, b), ids)
    (_print_json if as_json else _print_words)(found, sides)
    if not all(one.equal for one in found):
        ctx.exit(NO)


def _sides(names: list[str], check: bool) -> list[Side]:
    """Read both sides. Peers come last, as they are asked about the namespaces of the other."""
    sides: dict[int, Side] = {}
    for i, name in enumerate(names):
        if not is_peer(name):
            sides[i] = _stored_side(name, check)
    namespaces = {key for side in sides.values() for key, _ in side.days}
    for i, name in enumerate(names):
        if is_peer(name):
            sides[i] = peer_side(name, namespaces)
    return [sides[0], sides[1]]


def _stored_side(name: str, check: bool) -> Side:
    """Read a file, a directory or an address. Raises as `open_files`."""
    with open_files(name) as dataset:
        origin = dataset.origin
        if isinstance(origin, Listed) and not (check or isinstance(origin, Lake)):
            found = _published(origin.manifest)
        else:
            dataset.bring("item", "catalog")
            found = digests(dataset.connection)
        return side_of(name, found, dataset.written, origin.shard)


def _published(manifest: Manifest) -> list[DayDigest]:
    return [
        DayDigest(one.key, schema, (day - _EPOCH).days, one.count, one.digest)
        for schema, own in manifest.days.items()
        for day, one in own.items()
    ]


def _print_json(found: list[Compared], sides: list[Side]) -> None:
    def total(pair: tuple[int, bytes] | None) -> dict[str, object] | None:
        return pair and {"reports": pair[0], "digest": pair[1].hex()}

    def of(day: DayDigest | None) -> dict[str, object] | None:
        return total(None if day is None else (day.count, day.digest))

    namespaces = [
        {
            "app": one.app,
            "key": one.key.hex(),
            "equal": one.equal,
            "days": one.days,
            "a": total(one.a),
            "b": total(one.b),
            "differences": [
                {
                    "day": _date(diff.day),
                    "a": of(diff.a),
                    "b": of(diff.b),
                    "only_a": _hex(diff.only_a),
                    "only_b": _hex(diff.only_b),
                }
                for diff in one.differences
            ],
        }
        for one in found
    ]
    written = {letter: side.since for letter, side in zip("ab", sides, strict=True)}
    answer = {"equal": all(one.equal for one in found), "written": written}
    click.echo(json.dumps({**answer, "namespaces": namespaces}, indent=1))


def _print_words(found: list[Compared], sides: list[Side]) -> None:
    for letter, side in zip("AB", sides, strict=True):
        if side.since:
            click.echo(f"{letter} is as of {utc_text(side.since)}")
        if not side.shard.is_whole:
            click.echo(f"{letter} is shard {side.shard}: it has one range of all ids")
    if not found:
        click.echo("equal: neither has a report")
    for one in found:
        if one.equal and one.a:
            count, digest = one.a
            reports, days = counted(count, "report"), counted(one.days, "day")
            click.echo(f"equal: {one.app}, {reports} on {days}, digest {digest.hex()}")
            continue
        for diff in one.differences[:SHOWN_MAX]:
            click.echo(f"{one.app} {_date(diff.day)}: {_words(diff.a, diff.b)}")
            for letter, only in (("A", diff.only_a), ("B", diff.only_b)):
                for report in only or ():
                    click.echo(f"  only in {letter}: {report.hex()}")
        if len(one.differences) > SHOWN_MAX:
            click.echo(f"… and {len(one.differences) - SHOWN_MAX} more days")
        click.echo(f"{one.app}: {len(one.differences)} of {counted(one.days, 'day')} differ")
    if sides[0].since != sides[1].since and not all(one.equal for one in found):
        click.echo("A and B are not of the same moment: what came in between is a difference")


def _words(a: DayDigest | None, b: DayDigest | None) -> str:
    if a is None or b is None:
        return f"only {'B' if a is None else 'A'} has reports: {(a or b or _NONE).count:,}"
    if a.count == b.count:
        return f"both have {counted(a.count, 'report')}, but not the same"
    return f"A has {a.count:,}, B has {b.count:,}"


def _hex(ids: tuple[bytes, ...] | None) -> list[str] | None:
    return None if ids is None else [one.hex() for one in ids]


_NONE = DayDigest(b"", "", 0, 0, b"")


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
