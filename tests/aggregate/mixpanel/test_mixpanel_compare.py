"""Metrics on both sides are equal where the definitions agree, and explained where they differ."""

from __future__ import annotations

import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import mixpanel_making as making
import pytest

from methrics.aggregate.cli import exit_codes
from methrics.aggregate.cli import main as cli
from methrics.aggregate.mixpanel import theirs
from methrics.aggregate.mixpanel.activity import Plan, load, plan
from methrics.aggregate.mixpanel.compare import Metric, compare
from methrics.aggregate.mixpanel.draft import draft
from methrics.aggregate.mixpanel.export import Tracked, open_export, read_export
from methrics.aggregate.mixpanel.replay import replay
from methrics.aggregate.mixpanel.sketch import Summary
from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.read.views import templates
from methrics.aggregate.store.duck import Connection
from methrics.schema.catalog.catalog import load as load_catalog
from methrics.schema.catalog.catalog import sign
from methrics.schema.catalog.source import parse_source

PEOPLE = 18
UTC_ZONE = ZoneInfo("UTC")
PACIFIC = ZoneInfo("America/Los_Angeles")
STEPS = ("sign_in_shown", "email_given", "signed_in")
FUNNEL = "signin=" + ">".join(making.STEPS)


class World(NamedTuple):
    """One export, the events in it, and the metrics of both sides."""

    made: list[dict[str, Any]]
    export: Path
    how: Plan
    con: Connection
    refused: Counter[str]
    data: Dataset
    file: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("mixpanel")
    made = making.events(PEOPLE)
    twice = [json.dumps(one).encode() for one in made[:50]]
    export = making.write(folder / "export.jsonl", made, *making.odd_lines(made[0]), *twice)
    seen, refused = Summary(3), Counter[str]()
    with open_export(export) as file:
        seen.add_all(read_export(file, Counter()))
    now = making.START + 60 * making.DAY
    drafted = draft(seen, label="music", now=now, funnels={"signin": making.STEPS})
    how = plan(load_catalog(sign(parse_source(drafted.source(filled=True)), bytes(32))))
    with export.open("rb") as lines:
        con = load(lines, how, refused, zone=UTC_ZONE, local=False)
    dropped = replay(con, how, folder / "here.duckdb", tell=lambda _: None)
    assert dropped == {"unknown-event": 1}, "the rare event of the odd lines"
    with open_dataset(folder / "here.duckdb", floor=1) as data:
        yield World(made, export, how, con, refused, data, folder / "here.duckdb")
    con.close()


@pytest.fixture(scope="module")
def metrics(world: World) -> dict[str, Metric]:
    return {one.title: one for one in compare(world.con, world.data, world.how, "UTC")}


# -- Mixpanel's side, counted again by other means -------------------------------------------------


def days_of(world: World, zone: ZoneInfo) -> dict[str, set[date]]:
    """The days of each person, computed without SQL."""
    found: dict[str, set[date]] = defaultdict(set)
    for one in world.made:
        time = one["properties"]["time"]
        found[one["properties"]["distinct_id"]].add(datetime.fromtimestamp(time, zone).date())
    found["odd-one"].add(datetime.fromtimestamp(making.START + 5000, zone).date())
    return found


@pytest.mark.parametrize("zone", [UTC_ZONE, PACIFIC, ZoneInfo("Asia/Kolkata")])
def test_their_people_by_day_week_and_month(world: World, zone: ZoneInfo) -> None:
    with world.export.open("rb") as lines:
        con = load(lines, world.how, Counter(), zone=zone, local=False)
    people = days_of(world, zone)
    every = [day for days in people.values() for day in days]
    assert theirs.active(con, "day") == {str(day): n for day, n in Counter(every).items()}
    weeks = Counter(
        monday for days in people.values() for monday in {d - timedelta(d.weekday()) for d in days}
    )
    assert theirs.active(con, "week") == {str(day): n for day, n in weeks.items()}
    months = Counter(
        first for days in people.values() for first in {day.replace(day=1) for day in days}
    )
    assert theirs.active(con, "month") == {str(day): n for day, n in months.items()}
    last = max(every)
    recent = sum(any(last - timedelta(6) <= day for day in days) for days in people.values())
    assert theirs.rolling(con, 7)[str(last)] == recent
    con.close()


def test_their_retention(world: World) -> None:
    people = days_of(world, UTC_ZONE)
    calendar: Counter[str] = Counter()
    for days in people.values():
        first = min(days)
        for after in (0, 1, 7, 30):
            if first + timedelta(after) in days:
                calendar[f"{first - timedelta(first.weekday())} d{after}"] += 1
    assert theirs.retention(world.con, (0, 1, 7, 30), calendar=True) == calendar
    times = defaultdict(list)
    for one in world.made:
        times[one["properties"]["distinct_id"]].append(one["properties"]["time"])
    times["odd-one"].append(making.START + 5000)
    windows: Counter[str] = Counter()
    for own in times.values():
        began = datetime.fromtimestamp(min(own), UTC).date()
        for after in (0, 1, 7, 30):
            if any((time - min(own)) // making.DAY == after for time in own):
                windows[f"{began - timedelta(began.weekday())} d{after}"] += 1
    assert theirs.retention(world.con, (0, 1, 7, 30), calendar=False) == windows


def test_their_funnel_counts_steps_in_order_within_the_time() -> None:
    def lines(*events: tuple[str, int]) -> bytes:
        return b"\n".join(
            json.dumps(
                {"event": event, "properties": {"time": making.START + at, "distinct_id": "x"}}
            ).encode()
            for event, at in events
        )

    text = lines(
        *(("Sign-in shown", 0), ("Signed In", 10), ("Email Given", 20)),
        *(("Sign-in shown", 5000), ("Email Given", 5010), ("Signed In", 9000)),
        *(("Sign-in shown", 20000), ("Email Given", 20001), ("Signed In", 20002)),
        *(("Sign-in shown", 30000), ("Sign-in shown", 30001), ("Signed In", 30002)),
    )
    how = plan_of_the_funnel()
    con = load(io.BytesIO(text), how, Counter(), zone=UTC_ZONE, local=False)
    totals = theirs.funnel(con, STEPS, 1800, people=False)
    assert list(totals.items()) == [("sign_in_shown", 5), ("email_given", 3), ("signed_in", 1)]
    assert theirs.funnel(con, STEPS, 1800, people=True) == dict.fromkeys(STEPS, 1)
    con.close()


def plan_of_the_funnel() -> Plan:
    seen = Summary(1)
    for event in making.STEPS:
        seen.add(Tracked(event, 1, making.START, None, {}))
    made = draft(seen, label="any", now=making.START, funnels={"signin": making.STEPS})
    return plan(load_catalog(sign(parse_source(made.source(filled=True)), bytes(32))))


def test_some_people_are_whole_people(world: World) -> None:
    refused: Counter[str] = Counter()
    with world.export.open("rb") as lines:
        con = load(lines, world.how, refused, zone=UTC_ZONE, local=False, people=5)
    own = "SELECT person, count(*) FROM did GROUP BY ALL ORDER BY ALL"
    some = con.execute(own).fetchall()
    assert len(some) == 5
    assert set(some) <= set(world.con.execute(own).fetchall())
    con.close()


def test_what_was_sent_twice_is_counted_once(world: World) -> None:
    assert world.refused == {**making.BROKEN, "repeated": 51}
    ((events,),) = world.con.execute("SELECT count(*) FROM did").fetchall()
    assert events == len(world.made) + 2


# -- both sides ------------------------------------------------------------------------------------


EQUAL = {
    "DAU",
    "WAU, ISO weeks",
    "MAU, calendar months",
    "New and returning, by week",
    "Retention, calendar days",
    "Funnel signin, totals",
    "People by country, each month",
    "People by language, each month",
    "People by os, each month",
    "Events song_played, each month",
    "Events song_played by genre, each month",
    "Events report_exported, each day",
    "Events report_exported by plan, each month",
    "Events report_exported by trial, each month",
}


@pytest.mark.shows("METH-10")
@pytest.mark.parametrize("title", sorted(EQUAL))
def test_where_the_definitions_agree_the_numbers_are_equal(
    metrics: dict[str, Metric], title: str
) -> None:
    found = metrics[title]
    assert found.here == found.theirs
    assert sum(found.theirs.values()) > 10


def test_percentiles_lie_in_the_bucket_that_is_told(metrics: dict[str, Metric]) -> None:
    for field in ("seconds", "pages", "count_"):
        found = metrics[f"{field} of report_exported"]
        assert set(found.labels()) == {"p50", "p90"}
        assert all(found.same(label) for label in found.labels())
    seconds = metrics["seconds of report_exported"]
    assert seconds.here != seconds.theirs
    assert not Metric("", {"p50": 9.0}, {"p50": 5.0}, "", {"p50": 2.0}, {"p50": 9.0}).same("p50")


def test_where_they_do_not_agree_it_says_why(metrics: dict[str, Metric]) -> None:
    assert set(metrics) - EQUAL == {
        "WAU, rolling",
        "MAU, rolling",
        "Retention, 24-hour windows",
        "Funnel signin, uniques",
        "People by version, each week",
        "Events song_played, uniques",
        "Events report_exported, uniques",
        *(f"{field} of report_exported" for field in ("seconds", "pages", "count_")),
    }
    for title in set(metrics) - EQUAL:
        assert metrics[title].why
    for title in ("WAU, rolling", "MAU, rolling", "Events song_played, uniques"):
        assert metrics[title].here is None
        assert not metrics[title].same(metrics[title].labels()[0])
    windows = metrics["Retention, 24-hour windows"]
    assert windows.here != windows.theirs
    assert metrics["Funnel signin, uniques"].theirs["sign_in_shown"] == PEOPLE


def test_days_of_another_time_zone_are_other_days(world: World) -> None:
    with world.export.open("rb") as lines:
        con = load(lines, world.how, Counter(), zone=PACIFIC, local=False)
    found = {one.title: one for one in compare(con, world.data, world.how, PACIFIC.key)}
    dau = found["DAU"]
    assert dau.theirs != dau.here
    assert "America/Los_Angeles" in dau.why
    con.close()


def test_the_reports_of_a_comparison_tell_nothing_else_of_the_export(world: World) -> None:
    items = [raw for (raw,) in world.data.rows("SELECT raw FROM item")]
    assert len(items) > 200
    whole = b"".join(items) + world.file.read_bytes()
    assert b"song_played" in whole
    for secret in (making.SECRET, "user-1@", "odd-one", "song 1"):
        assert secret.encode() not in whole


def test_the_same_export_and_seed_give_the_same_reports(world: World, tmp_path: Path) -> None:
    some = b"\n".join(json.dumps(one).encode() for one in world.made[:60])
    ids = []
    for seed in (1, 1, 2):
        con = load(io.BytesIO(some), world.how, Counter(), zone=UTC_ZONE, local=False)
        file = tmp_path / f"{len(ids)}.duckdb"
        replay(con, world.how, file, seed=seed, tell=lambda _: None)
        with open_dataset(file) as data:
            ids.append(data.rows("SELECT id FROM item ORDER BY id"))
        con.close()
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.shows("METH-10")
def test_the_views_that_the_guide_names_are_there() -> None:
    guide = Path(__file__).parents[3] / "docs" / "mixpanel.md"
    named = set(re.findall(r"`(?:TYPE|heartbeat|retention)_(\w+)`", guide.read_text("utf-8")))
    known = {one.name for one in templates()}
    assert named - known == {"step"}, "a table"
    # Mixpanel has no counterpart for arrivals and for fields that were not shared.
    ours = {"arrivals", "bias", "coverage", "withheld", "refusals", "reports_per_day"}
    assert known - named == ours


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    made = making.events(6, days=12)
    return making.write(tmp_path / "export.jsonl", made, *making.odd_lines(made[0]))


@pytest.mark.shows("METH-10")
def test_draft_writes_a_file_that_only_a_person_can_finish(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "draft.toml"
    options = ["--label", "music", "--least", "3", "--funnel", FUNNEL, "-o", str(output)]
    assert cli.main(["mixpanel", "draft", str(small), *options]) == exit_codes.OK
    said = capsys.readouterr()
    assert "fill in what is empty" in said.out
    assert "people, 2026-03-02 to 2026-03-13" in said.err
    assert "not read: 4 lines, not-json" in said.err
    assert "left out: Song Played / Title: " in said.err
    assert cli.main(["mixpanel", "draft", str(small), "-o", str(output)]) == exit_codes.LOCAL
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["catalog", "lint", str(output)]) == exit_codes.NO
    said = capsys.readouterr()
    assert "M007 types.signin.why" in said.out + said.err
    assert cli.main(["mixpanel", "draft", str(small), "--least", "3"]) == exit_codes.OK
    assert "[types.song_played]" in capsys.readouterr().out


def catalog_for(export: Path) -> Path:
    """A signed catalog, made from the draft as its author would."""
    seen = Summary(3)
    with open_export(export) as file:
        seen.add_all(read_export(file, Counter()))
    made = draft(seen, label="music", now=making.START, funnels={"signin": making.STEPS})
    signed = export.with_name("music.cbor")
    signed.write_bytes(sign(parse_source(made.source(filled=True)), bytes(range(32))))
    return signed


@pytest.mark.shows("METH-10")
def test_compare_prints_both_sides(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["mixpanel", "compare", str(small), "--least", "3", "--funnel", FUNNEL]
    assert cli.main(command) == exit_codes.OK
    said = capsys.readouterr()
    head, *rows = said.out.splitlines()
    assert head.split() == ["metric", "at", "Mixpanel", "here", "difference", "equal", "why"]
    assert any(re.match(r"DAU .* (\d+) of \1\b", row) for row in rows)
    assert any(row.startswith("WAU, rolling ") and "not here" in row for row in rows)
    assert "not counted: 1 lines, repeated" in said.err
    signed = ["--catalog", str(catalog_for(small))]
    command = ["mixpanel", "compare", str(small), *signed, "--each", "--json"]
    assert cli.main(command) == exit_codes.OK
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    days = [row for row in rows if row["metric"] == "DAU"]
    assert len(days) > 5
    assert all(row["Mixpanel"] == row["here"] and row["equal"] is True for row in days)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--zone", "Mars/Olympus"], exit_codes.USAGE, "no such time zone"),
        (["--funnel", "signin"], exit_codes.USAGE, "NAME=A>B>C"),
        (["--funnel", "signin=A>B"], exit_codes.LOCAL, "the export has no event 'A'"),
        (["--catalog", "/nonexistent"], exit_codes.LOCAL, "cannot read"),
    ],
)
def test_wrong_use_is_one_line(
    small: Path, arguments: list[str], code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["mixpanel", "compare", str(small), *arguments]) == code
    assert line in capsys.readouterr().err


def test_an_export_without_events_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n{\n")
    for command in ("draft", "compare"):
        assert cli.main(["mixpanel", command, str(empty)]) == exit_codes.LOCAL
        assert "contains no event" in capsys.readouterr().err
    assert cli.main(["mixpanel", "draft", str(tmp_path / "none")]) == exit_codes.LOCAL
    assert cli.main(["mixpanel", "draft", str(empty), "--label", "My App"]) == exit_codes.USAGE
