"""The commands `methrics query`, `methrics verify` and `methrics aggregate`."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import aggregate_making as making
import pytest
from layout_making import Writer

from methrics.aggregate.cli.main import main
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store

CATALOG = making.catalog()
TOPIC = CATALOG.topic


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.duckdb"
    making.store_all(path, [CATALOG.raw, *(making.beat(CATALOG, i) for i in range(6))])
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(one) for one in arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.mark.shows("MARS-5")
def test_query_without_sql_lists_what_there_is(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "query", file, "--json")
    rows = {row["name"]: row for row in map(json.loads, out.splitlines())}
    assert code == 0
    assert rows["test.beat"]["rows"] == 6
    assert "at least" in rows["test.beat_dau"]["meaning"]
    assert "did not opt in" in rows["test.beat_dau"]["meaning"]
    short = run(capsys, "query", file)[1]
    assert "Active installs per UTC day, at least.\n" in short, "the first sentence is enough here"
    assert all(row["meaning"] for row in rows.values()), "tables have a meaning, too"
    assert "exact signed bytes" in rows["item"]["meaning"]


def test_a_lake_without_a_shard_is_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(
        capsys, "aggregate", tmp_path / "a.duckdb", "--topic", TOPIC, "--lake", tmp_path / "lake"
    )
    assert (code, err) == (
        2,
        "methrics: a lake is written by shards (give --shard I/N, too)\n",
    )


def test_query_prints_tables_json_and_csv(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT os, count(*) AS n FROM test.beat GROUP BY os ORDER BY os"
    assert "linux  2" in run(capsys, "query", file, sql)[1]
    assert run(capsys, "query", file, sql, "--csv")[1] == "os,n\nlinux,2\nmacos,2\nother,2\n"
    first = run(capsys, "query", file, sql, "--json")[1].splitlines()[0]
    assert json.loads(first) == {"os": "linux", "n": 2}


def test_query_shows_bytes_in_hex_and_times_in_iso(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "query", file, "SELECT id, time FROM item ORDER BY n LIMIT 1", "--json")[1]
    row = json.loads(out)
    assert len(bytes.fromhex(row["id"])) == 32
    assert row["time"] == "2026-09-21T12:20:00"


@pytest.mark.shows("DEB-7")
def test_a_view_says_what_its_numbers_mean(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "query", file, "dau", "--floor", 1)
    assert code == 0
    assert "Does not count people who did not opt in" in out
    assert "2026-09-21         3\n" in out
    assert out.endswith("\n\nEvery count is shown as it is.\n")


@pytest.mark.shows("MARS-15")
def test_a_view_says_what_it_leaves_out(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = (
        "Counts are rounded down to multiples of 10, and other figures are computed from them; "
        "1 group is left out for being smaller."
    )
    code, out, _ = run(capsys, "query", file, "dau")
    assert (code, "2026-09-21" in out, said in out) == (0, False, True)
    # A program that reads rows would read a footnote as a row.
    for form, head in (("--csv", "day,installs\n"), ("--json", "")):
        _, out, err = run(capsys, "query", file, "dau", form)
        assert (out, err) == (head, f"\n{said}\n")


def test_the_memory_of_a_query_is_bounded_by_its_option(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "SELECT value FROM duckdb_settings() WHERE name = 'memory_limit'"
    assert "190.7 MiB" in run(capsys, "query", file, asked, "--memory", "200MB")[1]
    code, _, err = run(capsys, "query", file, asked, "--memory", "much")
    assert (code, "--memory much" in err) == (2, True)


def test_known_totals_are_compared_with_what_was_counted(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known.csv"
    known.write_text("day,field,value,installs\n2026-09-21,,,30\n")
    code, out, _ = run(capsys, "query", file, "coverage", "--floor", 1, "--known", known)
    assert code == 0
    assert "2026-09-21         3              30       10  no" in out
    known.write_text("day,field,value,installs\n2026-09-21,,,many\n")
    code, _, err = run(capsys, "query", file, "coverage", "--known", known)
    assert code != 0
    assert "known.csv, line 2: 'many' is not a number of installs" in err


def test_the_digest_is_that_of_each_day_and_of_all(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "query", file, "--digest", "--json")[1]
    day, whole = map(json.loads, out.splitlines())
    assert (day["day"], day["reports"], whole["day"], whole["reports"]) == (
        "2026-09-21",
        6,
        "all",
        6,
    )
    assert len(day["digest"]) == len(whole["digest"]) == 64


def test_nothing_is_cut_or_wrapped_without_a_terminal(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "query", file, "--digest")[1].splitlines()
    assert [len(line.split()[-1]) for line in out[1:]] == [64, 64]
    out = run(capsys, "query", file)[1]
    assert "a person who agrees to an event type can still switch off single fields.\n" in out
    assert " \n" not in out
    assert "The last days still grow." in run(capsys, "query", file, "dau")[1]


def test_the_name_of_a_table_is_enough(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "query", file, "test.beat", "--csv")[1].count("\n") == 7


def test_verify_says_yes_or_no_with_its_exit_code(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "verify", file)
    assert (code, out) == (
        0,
        "every row is what was signed: 6 reports, 1 catalog, 1 record, 0 erasures and "
        "0 announcements\n",
    )
    with Store(file) as store:
        store.cursor().execute("UPDATE test.beat SET os = 'windows' WHERE n = 2")
    code, out, _ = run(capsys, "verify", file)
    assert code == 1
    assert "test.beat 2: not what the bytes say: os" in out
    code, out, _ = run(capsys, "verify", file, "--json")
    assert code == 1
    assert json.loads(out)["mismatches"] == [
        {"table": "test.beat", "n": 2, "what": "not what the bytes say: os"}
    ]


def test_a_file_in_use_is_read_from_its_parquet_with_a_note(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(file) as store:
        Writer(directory_beside(file)).write(store, making.NOW)
        code, out, err = run(capsys, "query", file, "SELECT count(*) AS n FROM item", "--csv")
    assert (code, out) == (0, "n\n6\n")
    assert "is in use: reading its Parquet" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["query", "missing"], 3, "there is no such file"),
        (["verify", "missing"], 3, "there is no such file"),
        (["query", "FILE", "nonsense"], 3, "no table or view is called nonsense (see: methrics"),
        (["query", "FILE", "dua"], 3, "no table or view is called dua (did you mean dau"),
        (["query", "FILE", "FROM itme"], 3, "methrics: Table with name itme does not exist! (Did"),
        (["query", "FILE", "FROM itme"], 3, 'Did you mean "item"?)'),
        (
            ["query", "FILE", "FROM nosuch"],
            3,
            "methrics: Table with name nosuch does not exist! (`methrics query` without SQL lists",
        ),
        (["query", "FILE", "FROM beat"], 3, '(Did you mean "test.beat"?)\n'),
        (["query", "FILE", "step_times"], 3, "the fields that the view step_times needs (docs/"),
        (["query", "FILE", "SELEC 1"], 3, "syntax error"),
        (["query", "FILE", "DROP TABLE item"], 3, "only one SELECT"),
        (["query", "FILE", "SELECT 1", "--digest"], 2, "either SQL or --digest"),
        (["aggregate", "FILE", "--catalog", "missing"], 3, "cannot read missing"),
        (["aggregate", "FILE", "--catalog", "/dev/zero"], 3, "is larger than 65536 bytes"),
        (["aggregate", "FILE", "--export-every", "-1"], 2, "--export-every"),
        (["aggregate", "FILE", "--peer", "there"], 2, "not the address of a peer"),
        (["aggregate", "FILE", "--topic", "that"], 2, "that is no topic"),
        (["aggregate", "FILE", "--listen", "0.0.0.0:4002"], 2, "use the form /ip4/"),
        (["aggregate", "FILE", "--quorum", "2"], 2, "a quorum needs peers"),
        (["aggregate", "FILE", "--http", "0.0.0.0:8417"], 2, "--http-open"),
        (["aggregate", "missing"], 2, "there is no file missing"),
        (["aggregate", "missing/new.duckdb", "--topic", TOPIC], 3, "there is no folder missing"),
        (["aggregate", "FILE", "--memory", "5%"], 2, "'5%' is no size of"),
        (["aggregate", "FILE", "--memory", "much"], 2, "'much' is no size of"),
    ],
)
def test_every_error_is_one_clear_line(
    file: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    found, _, err = run(capsys, *(file if one == "FILE" else one for one in arguments))
    assert found == code
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [[], ["--topic", "that"], ["--peer", "there"], ["--topic", TOPIC, "--listen", "there"]],
)
def test_an_aggregator_that_cannot_work_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert run(capsys, "aggregate", tmp_path / "new.duckdb", *options)[0] == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["query", "verify", "aggregate"])
def test_another_kind_of_database_is_refused_without_fetching_its_driver(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as con:
        con.execute("CREATE TABLE a (b)")
    topic = ["--topic", CATALOG.topic] if command == "aggregate" else []
    code, _, err = run(capsys, command, path, *topic)
    assert (code, err.count("\n")) == (3, 1)
    assert "is not a DuckDB file of this kind (name a file that" in err
