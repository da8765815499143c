"""`methrics retention`: shows how long a data set keeps what, and what is over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import click

from methrics.aggregate.cli.source import SOURCE, opened_files
from methrics.aggregate.read.retention import retention as kept_of
from methrics.aggregate.read.retention import size_over
from methrics.aggregate.store.retention import Kept
from methrics.node.cli.counted import counted, sized
from methrics.node.cli.options import json_option
from methrics.node.cli.tables import print_table
from methrics.node.cli.times import MOMENT
from methrics.node.clock import Clock

DAYS_SHOWN = 100
"""Most lines of a plan that are printed. --json prints all."""

_EPOCH = date(1970, 1, 1)


@click.command()
@SOURCE
@click.option("--plan", is_flag=True, help="List what is over, by event type and day.")
@click.option(
    "--at",
    type=MOMENT,
    metavar="DATE",
    help="Say it for this day instead of today, such as 2027-01-31.",
)
@json_option()
def retention(file: str, plan: bool, at: int | None, as_json: bool) -> None:
    """Show how long the reports of a data set are kept, and when the next of them go.

    Each catalog states for how many days the reports of an event type are kept. A running
    aggregator deletes what is over; this command only looks. The data set is a DuckDB file of
    `methrics aggregate`, running or not, a directory of its Parquet, or the address of one.
    """
    now = Clock().now() if at is None else at
    with opened_files(file, "reading") as dataset:
        kept = kept_of(dataset, now)
        size = size_over(dataset, kept, now) if plan else 0
    if as_json:
        click.echo(json.dumps(_json(kept, now, size if plan else None), indent=1))
    else:
        _print(kept, now, size if plan else None)


def _json(kept: Sequence[Kept], now: int, size: int | None) -> dict[str, object]:
    types = [
        {
            "type": f"{one.schema}.{one.type}",
            "retention_days": list(one.retentions),
            "reports": one.reports,
            "oldest": _iso(one.oldest),
            "next": _iso(one.next),
            "over": one.gone,
        }
        | ({} if size is None else {"days": {_iso(day): count for day, count in one.over}})
        for one in kept
    ]
    at = datetime.fromtimestamp(now, UTC).date().isoformat()
    found: dict[str, object] = {"at": at, "types": types}
    return found if size is None else found | {"bytes": size}


def _print(kept: Sequence[Kept], now: int, size: int | None) -> None:
    rows = [
        (
            f"{one.schema}.{one.type}",
            " or ".join(f"{days} days" for days in one.retentions),
            one.reports,
            _iso(one.oldest),
            _iso(one.next),
            one.gone,
        )
        for one in kept
    ]
    print_table(("event type", "kept for", "reports", "oldest", "next go on", "over"), rows)
    over = sum(one.gone for one in kept)
    when = datetime.fromtimestamp(now, UTC).date()
    if size is not None and over:
        click.echo()
        days = [(f"{one.schema}.{one.type}", _iso(d), n) for one in kept for d, n in one.over]
        print_table(("event type", "day", "reports"), days[:DAYS_SHOWN])
        if len(days) > DAYS_SHOWN:
            click.echo(f"… and {len(days) - DAYS_SHOWN:,} more lines; --json prints all")
    click.echo()
    if not over:
        click.echo(f"nothing is over on {when}")
        return
    says = f"{counted(over, 'report')} {'is' if over == 1 else 'are'} over on {when}"
    if size is None:
        click.echo(f"{says}; --plan lists them")
    else:
        click.echo(f"{says}: {sized(size)} of signed bytes, which a running aggregator deletes")


def _iso(day: int | None) -> str | None:
    return None if day is None else (_EPOCH + timedelta(days=day)).isoformat()
