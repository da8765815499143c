"""`methrics status`: what a running aggregator does, asked through its live endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from methrics.aggregate.cli.live import live_endpoint
from methrics.node.cli.options import json_option
from methrics.node.durations import about


@click.command()
@click.argument("file")
@json_option("Print all figures as one JSON object.")
def status(file: str, as_json: bool) -> None:
    """Show the state of the aggregator that writes FILE, or of the one at an address.

    The aggregator needs --http. `docs/operate.md` explains each figure.
    """
    _, found = live_endpoint(file)
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, text in lines(found):
        click.echo(f"{name:<12} {text}")


def lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the figures of `/status` in words: a name, and a text."""
    now = found["now"]
    yield found["file"], f"running for {about(now - found['started'])}"
    yield "reports", f"{found['reports']:,}; {found['rate']:,.1f} per second in the last minute"
    yield "refused", _refused(found["refused"])
    queue = found["queue"]
    yield "queue", f"bundles for the writer {queue['bundles']}, for a catalog {queue['waiting']}"
    yield "commits", _durations(found["commits"])
    yield "checkpoints", _durations(found["checkpoints"])
    yield "exports", _exports(found["exports"], now)
    yield "peers", f"{found['network'].get('connections', 0)}"
    for one in found["aggregators"]:
        yield "aggregator", _difference(one, now)
    for one in found["closed"]["coverage"]:
        yield "coverage", _coverage(one)
    if found["closed"]["contested"]:
        yield "contested", f"{found['closed']['contested']:,} reports of days that are over"
    disk = found["disk"]
    yield (
        "disk",
        f"file {_size(disk['file'])}, log {_size(disk['log'])}, "
        f"Parquet {_size(disk['parquet'])}; free {_size(disk['free'])}",
    )
    outcomes = ", ".join(f"{name} {n}" for name, n in sorted(found["queries"]["outcomes"].items()))
    yield "questions", outcomes or "none"
    if found["clock"]:
        wrong = found["clock"]
        way = "behind" if wrong["behind"] else "ahead"
        yield "clock", f"this machine's clock is probably {about(wrong['seconds'])} {way}"


def _refused(reasons: Mapping[str, int]) -> str:
    most = sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{reason} {count:,}" for reason, count in most) or "nothing"


def _durations(one: Mapping[str, Any]) -> str:
    if not one["count"]:
        return "none yet"
    mean = one["total"] / one["count"]
    return f"{one['count']:,}; {_time(mean)} on average, the longest {_time(one['most'])}"


def _exports(one: Mapping[str, Any], now: int) -> str:
    if one["failed"]:
        return f"the last one failed: {one['failed']}"
    if not one["written"]:
        return "none yet"
    return f"{_durations(one)}; the last {about(now - one['written'])} ago"


def _difference(one: Mapping[str, Any], now: int) -> str:
    when = f"{one['peer']}, {about(now - one['at'])} ago"
    if one["equal"]:
        return f"{when}: equal"
    return f"{when}: {one['lacking']:,} items were lacking here; equal {about(one['lag'])} ago"


def _coverage(one: Mapping[str, Any]) -> str:
    had = f"{one['coverage']:.2%} of {one['reports']:,} reports in time"
    return f"{one['peer']}: {had}, on {one['days']:,} closed days of {one['namespace'][:16]}…"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else about(seconds)


def _size(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1024:,.0f} KiB"
