"""`methrics status`: what a running aggregator does, asked through its live endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from methrics.aggregate.cli.live import live_endpoint
from methrics.node.cli.counted import counted, sized
from methrics.node.cli.options import json_option
from methrics.node.durations import about
from methrics.node.relay.record_state import WAIT, RecordState


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
    for why in found["held"].values():
        yield "held", f"nothing is accepted now: {why}"
    yield "reports", f"{found['reports']:,}; {found['rate']:,.1f} per second in the last minute"
    yield "refused", _refused(found["refused"])
    yield "queue", _queue(found["queue"])
    yield "commits", _durations(found["commits"])
    yield "checkpoints", _durations(found["checkpoints"])
    yield "exports", _exports(found["exports"], now)
    yield "peers", _peers(found["network"])
    for one in found["records"]:
        yield "record", RecordState(**one).line(now, WAIT)
    for one in found["aggregators"]:
        yield "aggregator", _difference(one, now)
    for one in found["closed"]["coverage"]:
        yield "coverage", _coverage(one)
    if found["closed"]["contested"]:
        yield "contested", f"{found['closed']['contested']:,} reports of days that are over"
    if unanswered := found["closed"]["unanswered"]:
        yield "unanswered", f"requests for manifests: {_refused(unanswered)}"
    disk = found["disk"]
    yield (
        "disk",
        f"file {sized(disk['file'])}, log {sized(disk['log'])}, "
        f"Parquet {sized(disk['parquet'])}; free {sized(disk['free'])}",
    )
    outcomes = ", ".join(f"{name} {n}" for name, n in sorted(found["queries"]["outcomes"].items()))
    yield "questions", outcomes or "none"
    if found["clock"]:
        wrong = found["clock"]
        way = "behind" if wrong["behind"] else "ahead"
        yield "clock", f"this machine's clock is probably {about(wrong['seconds'])} {way}"
    if found["jumped"]:
        yield "clock", found["jumped"]


def _queue(queue: Mapping[str, int]) -> str:
    waiting = f"{counted(queue['bundles'], 'bundle')} for the writer, "
    waiting += f"{queue['waiting']:,} for a catalog or a record"
    dropped = queue["waiting_dropped"]
    return f"{waiting}; {dropped:,} waited in vain" if dropped else waiting


def _peers(network: Mapping[str, int]) -> str:
    """Say how many peers are connected, and what they have sent."""
    messages = counted(network.get("accepted", 0), "message")
    sent = f"{messages} accepted, {network.get('rejected', 0):,} rejected"
    size = sized(network.get("received_bytes", 0))
    return f"{network.get('connections', 0):,} connected; {sent}, {size} in all"


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
