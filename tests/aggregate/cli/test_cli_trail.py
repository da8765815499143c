"""`methrics trail` and `methrics threshold` on a real data set of own and other reports."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aggregate_making import batch, seed
from layout_making import Writer

from methrics.aggregate.cli.main import main
from methrics.aggregate.mine.public_crowd import PublicReports, period_of
from methrics.aggregate.parquet.download import local_copy
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock, ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.mine.own import ReadableReport
from methrics.node.mine.own_file import write_own
from methrics.node.mine.trail.gather import gather
from methrics.node.mine.trail.others import agreement
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import ACKNOWLEDGED, Pending, Receipt
from methrics.node.paths import namespace_of, user_paths
from methrics.node.report.identity import NO_SALT, report_seed
from methrics.node.report.parts import part_names, parts_of
from methrics.node.report.threshold.keeping import read_public, threshold_meter
from methrics.node.report.threshold.meter import Ruling, Send, Withhold
from methrics.node.spool.interface import SpooledType
from methrics.node.spool.spool import Spool
from methrics.schema.errors import ConfigError, LocalError, UnreachableError
from methrics.schema.example import example_catalog
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report

CATALOG = example_catalog()
NAMESPACE = namespace_of(CATALOG.label, CATALOG.short_key)
DAY = 86_400
NOW = 1_790_000_400
"""2026-09-21 14:20 UTC."""

Steps = tuple[tuple[str, int], ...]


def heartbeat(os: str, time: int = NOW - DAY, **more: object) -> Report:
    flags = {"daily": True, "weekly": False, "monthly": False}
    values = {"version": "1.2", "os": os, **flags, "age": 3, **more}
    return Report(CATALOG.id, "heartbeat", time - time % DAY, values)


def signin(*steps: tuple[str, int], one_in: int = 1, **values: object) -> Report:
    return Report(CATALOG.id, "signin", NOW - NOW % 3600 - DAY, values, None, one_in, steps)


def module(count: int) -> Report:
    return Report(CATALOG.id, "module", NOW - NOW % DAY - DAY, {"module": "muc"}, count)


MINE = [
    heartbeat("freebsd", monthly=True, country="IS"),
    heartbeat("linux", NOW - 2 * DAY, monthly=True),
    signin(("shown", 0), ("signed_in", 2), one_in=10, variant="a"),
    module(7),
]
THEIRS = [
    *[heartbeat("linux", NOW - (i % 5) * DAY, monthly=i % 2 == 0) for i in range(30)],
    *[heartbeat("windows", country="FR", monthly=True) for _ in range(8)],
    heartbeat("freebsd"),
    signin(("shown", 0), ("signed_in", 2), one_in=10, variant="a"),
    signin(("shown", 0), ("signed_in", 2), variant="a"),
    signin(("shown", 0), ("signed_in", 3), one_in=10, variant="a"),
    signin(("shown", 0), one_in=10),
    module(7),
    module(7),
    module(8),
]


class Person:
    """A home with an outbox of own reports, and a public file that holds them among others."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.paths = user_paths(home)
        self.home = home
        self.file = folder / "public.duckdb"
        journal = Journal(self.paths.outbox(NAMESPACE), clock=ManualClock(NOW))
        number = journal.keep_catalog(CATALOG.id, CATALOG.raw)
        made = []
        for i, report in enumerate(MINE):
            raw = seal(Kind.REPORT, encode_report(report), report_seed(b"m" * 32, i, NO_SALT))
            left = report.time + 900
            made.append(
                Receipt(
                    key_index=i,
                    salt=NO_SALT,
                    id=split(raw).id,
                    raw=raw,
                    catalog=number,
                    type=report.type,
                    time=report.time,
                    made=left,
                    due=left,
                    route="relay",
                )
            )
        journal.journal(made, [], [], token=journal.pending(0).token)
        journal.mark([one.key_index for one in made], ACKNOWLEDGED, "relay")
        journal.close()
        raws = [CATALOG.raw, *(one.raw for one in made)]
        for i, report in enumerate(THEIRS):
            raws.append(seal(Kind.REPORT, encode_report(report), seed("theirs", i)))
        with Store(self.file) as store:
            store.commit(batch(raws, CatalogBook(), NOW))

    def own(self) -> list[ReadableReport]:
        return gather(self.paths, ManualClock(NOW)).own

    def trail(self, *options: str) -> int:
        return main(["trail", "--home", str(self.home), *options])

    def threshold(self, *options: str) -> int:
        return main(["threshold", *options, "--home", str(self.home)])

    def wait(self, values: dict[str, object]) -> None:
        """Append an event that no publisher has seen yet."""
        now = Clock().now()  # now, as the command sees it: rows that are weeks old would be dropped
        journal = Journal(self.paths.outbox(NAMESPACE))
        number = journal.keep_catalog(CATALOG.id, CATALOG.raw)
        journal.close()
        spool = Spool(journal.path, clock=Clock(), rng=lambda: 0.0)
        system = SpooledType(number, CATALOG.types["system"], 1)
        spool.event(system, now - now % 600 - 600, now - 7 * 86_400, encode(values))


@pytest.fixture
def person(nobody: Path, tmp_path: Path) -> Person:
    return Person(nobody, tmp_path)


def brute(own: ReadableReport, names: tuple[str, ...]) -> Counter[int]:
    """The same numbers, counted one by one."""
    return Counter(
        agreement(names, own.parts, parts_of(report))
        for report in THEIRS
        if report.type == own.event_type.name
    )


@pytest.mark.shows("METH-3")
@pytest.mark.parametrize("form", ["file", "parquet"])
def test_the_crowd_is_counted_as_by_hand_and_without_oneself(person: Person, form: str) -> None:
    path = person.file
    if form == "parquet":
        path = directory_beside(person.file)
        with Store(person.file) as store:
            Writer(path).write(store, NOW)
    own = person.own()
    with open_dataset(path) as dataset:
        others = PublicReports(dataset, {NAMESPACE: [CATALOG]}, own)
        assert others.mine == len(MINE)
        for one in own:
            names = part_names(one.event_type)
            assert dict(others.agreeing(one, names)) == dict(brute(one, names)), one.name
        (linux,) = [one for one in own if one.parts.get("os") == "linux"]
        assert others.counts_people(linux) == "month"
        counted = others.agreeing(linux, ("os",), people=True)
        assert dict(counted) == {0b1: 15, 0b0: 8}
        yesterday = NOW - NOW % DAY - DAY
        window = (yesterday, yesterday + 600)
        assert sum(others.agreeing(linux, (), window=window).values()) == 6 + 8 + 1


@pytest.mark.shows("METH-3")
def test_own_reports_stand_out_or_not_in_words(
    person: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    assert person.trail("--data", str(person.file)) == 0
    told = capsys.readouterr().out
    assert "YOUR REPORTS: 4 left this machine, 0 did not" in told
    assert "os freebsd: 2 of 40 reports; nearly stands out" in told
    assert "country IS: 1 of 40 reports; stands out" in told
    assert "people of that month with your set-up" in told
    assert "signin 2, reported once" in told


def test_json_of_the_whole_trail(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    assert person.trail("--data", str(person.file), "--json") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    whole = {one["type"]: one["whole"] for one in document["statements"] if one["type"] != "x"}
    assert whole["signin"] == {
        "others": 1,
        "of_others": 4,
        "unit": "reports",
        "bits": pytest.approx(1.322, abs=0.001),
        "bits_least": pytest.approx(0.516, abs=0.2),
        "bits_most": pytest.approx(4.4, abs=0.2),
        "verdict": "2 of 5 reports; nearly stands out",
    }
    assert (whole["module"]["others"], whole["module"]["of_others"]) == (2, 3)
    assert [one["fate"] for one in document["reports"]] == ["left by relay"] * 4
    assert {one["way"] for one in document["joined"]} == {"same-time"}


@pytest.mark.shows("METH-3")
def test_traces_and_the_picture(
    person: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = tmp_path / "traces.csv"
    traces.write_text(f"time,label\n{NOW - DAY + 30},wallet\n", "utf-8")
    picture = tmp_path / "trail.html"
    picture.write_text("of before, for everyone to read", "utf-8")
    picture.chmod(0o644)
    options = ("--data", str(person.file), "--traces", str(traces), "--html", str(picture))
    assert person.trail(*options) == 0
    told = capsys.readouterr().out
    assert (
        "heartbeat 0: wallet at 2026-09-20 14:20 UTC, when the reported fact happened; 15 other"
        in told
    )
    html = picture.read_text("utf-8")
    assert "<svg" in html
    assert "country <b>IS</b>" in html
    assert picture.stat().st_mode & 0o777 == 0o600  # the file reveals whose reports they are


def test_a_picture_that_cannot_be_written_is_one_line(
    person: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert person.trail("--html", str(tmp_path / "nowhere" / "trail.html")) == 3
    error = capsys.readouterr().err
    assert "cannot write" in error
    assert error.count("\n") == 1


def test_a_pipe_is_written_to_and_stays(person: Person, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_own(pipe, b"own")
        assert os.read(reader, 100) == b"own"
        assert pipe.is_fifo()
    finally:
        os.close(reader)


@pytest.mark.shows("METH-14")
def test_a_threshold_is_kept_and_what_it_holds_is_shown(
    person: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    grant(person.paths, NAMESPACE, ["system"], now=NOW)
    person.wait({"os": "freebsd", "cores": 1})
    assert person.trail() == 0
    assert "no threshold is set" in capsys.readouterr().out
    assert person.threshold("set", "3") == 0
    told = capsys.readouterr().out
    assert "every report is withheld until you run: methrics threshold remember" in told
    assert person.trail() == 0
    told = capsys.readouterr().out
    assert "1 withheld" in told
    assert "there is no summary of public data yet" in told
    assert person.threshold() == 0
    told = capsys.readouterr().out
    assert "threshold 3: a report leaves only if so many others have the same values" in told
    assert f"every report is withheld, for lack of public data: {NAMESPACE}" in told
    assert person.threshold("remember", str(person.file), "--app", CATALOG.label) == 0
    assert f"{NAMESPACE}: summary kept in " in capsys.readouterr().out
    assert person.trail() == 0
    told = capsys.readouterr().out
    assert f"{NAMESPACE}: compared with {person.file}" in told
    words = "os freebsd, cores 2 to under 4 cores: the same in 0 other reports"
    assert f"{words}, fewer than your threshold of 3" in told
    assert threshold_meter(person.paths, NAMESPACE) is not None
    assert person.threshold("show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["threshold"] == 3
    assert shown["compared_with"][NAMESPACE]["source"] == str(person.file)
    assert person.threshold("off") == 0
    assert threshold_meter(person.paths, NAMESPACE) is None
    capsys.readouterr()
    assert person.threshold() == 0
    assert "threshold off: every report that you agreed to is sent" in capsys.readouterr().out


def test_a_look_at_the_trail_sets_no_threshold(person: Person) -> None:
    for option in ("--threshold", "--remember"):
        assert person.trail("--data", str(person.file), option) == 2
    assert person.trail("--data", str(person.file)) == 0
    assert threshold_meter(person.paths, NAMESPACE) is None
    assert read_public(person.paths, NAMESPACE) is None


def test_nothing_is_remembered_where_nothing_was_recorded(
    person: Person, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = tmp_path / "empty"
    assert main(["threshold", "remember", str(person.file), "--home", str(home)]) == 0
    assert "nothing to compare yet" in capsys.readouterr().out
    assert not home.exists()


def publish(path: Path, *days: Sequence[Report]) -> None:
    """Write a data set in which the reports of each of `days` arrive on a day of their own."""
    with Store(path) as store:
        for day, reports in enumerate(days):
            raws = [
                seal(Kind.REPORT, encode_report(report), seed(f"day {day}", i))
                for i, report in enumerate(reports)
            ]
            store.commit(batch([CATALOG.raw, *raws], CatalogBook(), NOW + day * DAY))


def test_what_is_remembered_counts_people_where_it_can(person: Person, tmp_path: Path) -> None:
    file = tmp_path / "days.duckdb"
    publish(file, THEIRS, THEIRS, THEIRS)
    assert person.threshold("remember", str(file)) == 0
    public = read_public(person.paths, NAMESPACE)
    assert public is not None
    beat = public.types["heartbeat"]
    assert (beat.unit, beat.period, beat.others) == ("people", "the month from 2026-09-01", 69)
    assert beat.names == ("version", "os", "age", "country")
    assert beat.rows == {("1.2", "linux", 3, None): 45, ("1.2", "windows", 3, "FR"): 24}
    sign = public.types["signin"]
    assert (sign.unit, sign.others) == ("reports", 12)
    place = sign.names.index("sequence")
    assert {row[place] for row in sign.rows} == {
        "shown@0",
        "shown@0 signed_in@2",
        "shown@0 signed_in@3",
    }
    place = sign.names.index("one_in")
    assert {row[place] for row in sign.rows} == {None, 10}


def system(days_ago: int = 1) -> Report:
    """A rare report, whose time its maker chooses."""
    return Report(CATALOG.id, "system", NOW - NOW % DAY - days_ago * DAY, {"os": "freebsd"})


def ruling_on_a_rare_report(person: Person, file: Path, threshold: int) -> Ruling:
    """The decision about one's own report `system`, compared with the data in `file`."""
    assert person.threshold("set", str(threshold)) == 0
    assert person.threshold("remember", str(file)) == 0
    ask = threshold_meter(person.paths, NAMESPACE)
    assert ask is not None
    return ask(CATALOG.types["system"], system())


@pytest.mark.shows("NEW-5")
def test_attack_a_flood_of_invented_reports_is_no_crowd(person: Person, tmp_path: Path) -> None:
    """Twenty-five keys cost nothing, whatever times their reports claim."""
    file = tmp_path / "flood.duckdb"
    publish(file, [system(1 + i % 5) for i in range(500)], [system()])
    ruling = ruling_on_a_rare_report(person, file, 25)
    assert isinstance(ruling, Withhold)
    assert "the same in 0 other reports, fewer than your threshold of 25" in ruling.reason


def test_attack_the_least_flood_that_passes_the_threshold_takes_three_days(
    person: Person, tmp_path: Path
) -> None:
    """A threshold makes an attack longer, not impossible (docs/threat-model.md)."""
    file = tmp_path / "patient.duckdb"
    publish(file, [system()] * 500, [system()] * 8, [system()] * 8)
    assert isinstance(ruling_on_a_rare_report(person, file, 25), Withhold)
    file = tmp_path / "more_patient.duckdb"
    publish(file, [system()] * 9, [system()] * 9, [system()] * 9)
    ruling = ruling_on_a_rare_report(person, file, 25)
    assert isinstance(ruling, Send)
    assert ruling.crowd.sharing == 27


def test_looking_changes_nothing(person: Person) -> None:
    grant(person.paths, NAMESPACE, ["system"], now=NOW)
    person.wait({"os": "freebsd"})
    assert person.threshold("set", "3") == 0

    def waiting() -> tuple[list[Pending], list[int], object]:
        journal = Journal(person.paths.outbox(NAMESPACE))
        try:
            indices = [one.key_index for one in journal.receipts()]
            return journal.pending(1 << 40).rows, indices, journal.paces()
        finally:
            journal.close()

    before = waiting()
    assert len(before[0]) == 1
    assert person.trail() == 0
    assert waiting() == before


def test_a_home_where_nothing_was_recorded(
    nobody: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trail"]) == 0
    assert "No report was made on this machine yet." in capsys.readouterr().out
    assert not nobody.exists()


def assert_one_line(
    capsys: pytest.CaptureFixture[str], code: int, expected: int, line: str
) -> None:
    assert code == expected
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (("--data", "nowhere.duckdb"), 3, "there is no such file"),
        (("--data", "gopher://x/y"), 3, "gopher://x/y cannot be fetched"),
        (("--traces", "nowhere.csv"), 3, "cannot read nowhere.csv"),
        (("--app", "nobody-here"), 2, "no app here is called nobody-here (known here: none)"),
    ],
)
def test_wrong_use_is_one_line(
    nobody: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    line: str,
) -> None:
    assert_one_line(capsys, main(["trail", *options]), code, line)


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (("set", "0"), 2, "0 is not in the range"),
        (("set",), 2, "Missing argument"),
        (("--json", "off"), 2, "after the name of the subcommand"),
        (("remember", "nowhere.duckdb", "--app", "nobody-here"), 2, "no app here is called"),
    ],
)
def test_wrong_use_of_the_threshold_is_one_line(
    nobody: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    line: str,
) -> None:
    assert_one_line(capsys, main(["threshold", *options]), code, line)


def test_a_foreign_file_is_refused(person: Person, tmp_path: Path) -> None:
    (tmp_path / "text.duckdb").write_text("not a database", "utf-8")
    assert person.trail("--data", str(tmp_path / "text.duckdb")) == 3


def test_addresses_of_files_are_paths(tmp_path: Path) -> None:
    assert local_copy("some/file.duckdb", tmp_path) == Path("some/file.duckdb")
    assert local_copy("file:///some%20where/x.duckdb", tmp_path) == Path("/some where/x.duckdb")
    for address in ("ftp://h/x", "file://host/x", "http:///x", "data://x"):
        with pytest.raises(ConfigError):
            local_copy(address, tmp_path)


@pytest.mark.parametrize(
    ("time", "period", "start", "end"),
    [
        (NOW, "day", "2026-09-21", "2026-09-22"),
        (NOW, "week", "2026-09-21", "2026-09-28"),
        (NOW - DAY, "week", "2026-09-14", "2026-09-21"),
        (NOW, "month", "2026-09-01", "2026-10-01"),
        (NOW + 100 * DAY, "month", "2026-12-01", "2027-01-01"),
    ],
)
def test_periods_are_those_of_the_calendar(time: int, period: str, start: str, end: str) -> None:
    from datetime import UTC, datetime

    shown = [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d") for at in period_of(time, period)]
    assert shown == [start, end]


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """An http server; gives its address and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answer(self)

        def log_message(self, *about: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}", asked
        finally:
            http.shutdown()
            thread.join()


def sending(
    body: bytes, length: int | None = None, code: int = 200
) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        if length is not None:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.mark.wire
def test_a_file_is_fetched_whole_so_that_no_request_reveals_own_reports(
    person: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    body = person.file.read_bytes()
    with server(sending(body, len(body))) as (address, asked):
        assert person.trail("--data", f"{address}/data/public.duckdb") == 0
    assert asked == ["/data/public.duckdb"]
    assert "country IS: 1 of 40 reports; stands out" in capsys.readouterr().out


@pytest.mark.wire
@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (sending(b"x" * 2000, 2000), LocalError, "download-too-large"),
        (sending(b"x" * 2000), LocalError, "download-too-large"),
        (sending(b"x" * 10, 500), UnreachableError, "download-failed"),
        (sending(b"gone", 4, 404), UnreachableError, "download-failed"),
    ],
    ids=["says it is too large", "is too large", "ends early", "not there"],
)
def test_a_download_that_fails_says_why(
    tmp_path: Path,
    answer: Callable[[BaseHTTPRequestHandler], None],
    error: type[LocalError | UnreachableError],
    code: str,
) -> None:
    with server(answer) as (address, _), pytest.raises(error) as caught:
        local_copy(f"{address}/x.duckdb", tmp_path, size_max=1000)
    assert caught.value.code == code
