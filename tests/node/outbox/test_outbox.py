"""The outbox and its journal: bounded in size, atomic, and the bytes of a report never change."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from row_making import Rows

from methrics.node.clock import ManualClock
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import WEEK, week_start
from methrics.node.outbox.records import Kept, Records, kept_records
from methrics.node.outbox.rows import ACKNOWLEDGED, DUE, NEVER_LEFT, STRUCK, Pace, Receipt
from methrics.node.outbox.tables import STEPS
from methrics.node.spool.folder import read_due
from methrics.node.spool.records import catalog_number
from methrics.schema.errors import StoreError
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.record import sign_record

if TYPE_CHECKING:
    from conftest import Shop

CATALOG = bytes(range(32))
N = catalog_number(CATALOG)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "shop" / "outbox.db")


@pytest.fixture
def journal(path: str, clock: ManualClock) -> Journal:
    journal = Journal(path, clock=clock)
    journal.keep_catalog(CATALOG, b"signed")
    return journal


@pytest.fixture
def rows(journal: Journal) -> Rows:
    return Rows(journal)


def made(index: int, now: int, *, due: int = 0, type_name: str = "view") -> Receipt:
    return Receipt(
        key_index=index,
        salt=index.to_bytes(16, "big"),
        id=bytes([index]) * 32,
        raw=b"raw%d" % index,
        catalog=N,
        type=type_name,
        time=now,
        made=now,
        due=due,
        route="relay",
    )


@pytest.mark.shows("KPI-14")
def test_files_are_for_their_owner_only(journal: Journal) -> None:
    folder = os.path.dirname(journal.path)
    assert os.stat(folder).st_mode & 0o077 == 0
    for name in os.listdir(folder):
        assert os.stat(os.path.join(folder, name)).st_mode & 0o077 == 0


def test_counts_are_summed_and_states_replaced(
    rows: Rows, journal: Journal, clock: ManualClock
) -> None:
    now = clock.now()
    for n in (1, 2, 3):
        rows.count(N, "click", now, now, b"red", n)
    rows.count(N, "click", now, now, b"green", 10)
    rows.count(N, "click", now + 86_400, now, b"red", 5)
    rows.state(N, "visit", now, now + 10, b"old")
    rows.state(N, "visit", now + 1, now + 99, b"new")
    found = journal.pending(now + 10).rows
    assert sorted((r.fields, r.total) for r in found if r.table == "counter") == [
        (b"green", 10),
        (b"red", 5),
        (b"red", 6),
    ]
    [state] = [row for row in found if row.table == "state"]
    assert (state.fields, state.time, state.due) == (b"new", now + 1, now + 10)
    assert journal.catalogs() == {N: b"signed"}


def test_rows_wait_for_their_own_time_and_for_their_types(
    rows: Rows, journal: Journal, clock: ManualClock
) -> None:
    now = clock.now()
    rows.event(N, "view", now, now + 5, b"")
    rows.event(N, "visit", now, now + 5, b"")
    pace = Pace(type="visit", last=now, next=now + 50)
    journal.journal([], [], [pace], token=journal.pending(now).token)
    assert journal.next_due() == now + 5
    assert journal.pending(now + 4).rows == []
    assert [row.type for row in journal.pending(now + 5).rows] == ["view"]
    assert {row.type for row in journal.pending(now + 50).rows} == {"view", "visit"}


def test_a_report_takes_the_place_of_what_it_was_made_from(
    rows: Rows, journal: Journal, clock: ManualClock
) -> None:
    now = clock.now()
    rows.event(N, "view", now, now, b"a", one_in=10, steps=b"s")
    rows.count(N, "click", now, now, b"b", 4)
    rows.state(N, "visit", now, now, b"c")
    pending = journal.pending(now)
    assert {(row.type, row.one_in, row.steps) for row in pending.rows} == {
        ("view", 10, b"s"),
        ("click", 1, None),
        ("visit", 1, None),
    }
    rows.count(N, "click", now, now, b"b", 3)  # counted while reports were being made
    rows.state(N, "visit", now, now + 7, b"d")
    journal.journal(
        [made(0, now), made(1, now, due=now + 9)],
        pending.rows,
        [Pace(type="visit", last=now, next=now)],
        token=pending.token,
    )
    left = {row.type: row for row in journal.pending(now + 7).rows}
    assert left.keys() == {"click", "visit"}
    assert left["click"].total == 3
    assert left["visit"].fields == b"d"
    assert [r.key_index for r in journal.due(now)] == [0]
    assert [r.raw for r in journal.due(now + 9)] == [b"raw0", b"raw1"]
    assert journal.identity(now).next_index == 2
    assert journal.paces() == {"visit": Pace(type="visit", last=now, next=now)}


def test_nothing_is_journaled_twice(rows: Rows, journal: Journal, clock: ManualClock) -> None:
    now = clock.now()
    rows.event(N, "view", now, now, b"a")
    pending = journal.pending(now)
    journal.journal([made(0, now)], pending.rows, [], token=pending.token)
    for reports, consumed in (([made(1, now)], pending.rows), ([made(0, now)], [])):
        with pytest.raises(StoreError) as caught:
            journal.journal(reports, consumed, [Pace(type="view", last=1)], token=pending.token)
        assert caught.value.code == "journal-conflict"
    assert len(journal.receipts()) == 1
    assert journal.paces() == {}
    assert journal.identity(now).next_index == 1


def test_the_identity_stays(journal: Journal, clock: ManualClock) -> None:
    now = clock.now()
    known = journal.identity(now)
    assert len(known.seed) == 32
    assert (known.next_index, known.install_week) == (0, week_start(now))
    assert known.install_week % WEEK == 4 * 86_400  # a Monday
    assert journal.identity(now + 10 * WEEK) == known


def test_withdrawn_consent_forgets_all_that_has_not_left(
    rows: Rows, journal: Journal, clock: ManualClock
) -> None:
    now = clock.now()
    for name in ("view", "click"):
        rows.event(N, name, now, now, b"")
        rows.count(N, name, now, now, b"", 1)
        rows.state(N, name, now, now, b"")
    journal.journal(
        [made(0, now), made(1, now), made(2, now), made(3, now, type_name="click")],
        [],
        [],
        token=journal.pending(now).token,
    )
    journal.attempt([1])
    journal.mark([2], ACKNOWLEDGED, "direct")
    assert journal.purge("view") == 4
    assert {row.type for row in journal.pending(now).rows} == {"click"}
    assert {r.key_index: r.state for r in journal.receipts(type_name="view")} == {
        1: STRUCK,
        2: ACKNOWLEDGED,
    }
    assert [r.key_index for r in journal.due(now)] == [3]
    assert journal.receipts(state=ACKNOWLEDGED)[0].route == "direct"
    assert journal.purge() == 4


@pytest.mark.parametrize("attempts", [0, 1])
@pytest.mark.parametrize("state", [DUE, ACKNOWLEDGED, STRUCK])
def test_sql_and_receipts_agree_on_what_may_have_left(
    journal: Journal, clock: ManualClock, state: str, attempts: int
) -> None:
    journal.journal([made(0, clock.now())], [], [], token=journal.pending(clock.now()).token)
    journal.database.execute("UPDATE report SET state = ?, attempts = ?", (state, attempts))
    (receipt,) = journal.receipts()
    never_left = journal.database.rows(f"SELECT count(*) FROM report WHERE {NEVER_LEFT}")
    assert receipt.may_have_left == (never_left == [(0,)])


def test_a_token_is_stale_once_a_person_changed_what_waits(
    rows: Rows, journal: Journal, clock: ManualClock
) -> None:
    now = clock.now()
    rows.event(N, "view", now, now, b"a")
    before = journal.pending(now)
    journal.purge("click")
    with pytest.raises(StoreError, match="a person changed what waits") as caught:
        journal.journal([made(0, now)], before.rows, [], token=before.token)
    assert caught.value.code == "journal-conflict"
    again = journal.pending(now)
    journal.journal([made(0, now)], again.rows, [], token=again.token)
    assert [one.key_index for one in journal.receipts()] == [0]


def test_postponed_reports_come_again_and_attempts_are_counted(
    journal: Journal, clock: ManualClock
) -> None:
    now = clock.now()
    journal.journal([made(0, now)], [], [], token=journal.pending(now).token)
    journal.attempt([0])
    journal.postpone([0], now + 60)
    assert journal.due(now + 59) == []
    assert journal.due(now + 60)[0].attempts == 1
    assert journal.next_due() == now + 60


@pytest.mark.shows("KPI-7")
def test_rows_that_are_too_old_are_dropped_and_counted(
    rows: Rows, journal: Journal, clock: ManualClock
) -> None:
    for _ in range(30):
        rows.event(N, "view", clock.now(), 0, b"")
    clock.advance(22 * 86_400)
    rows.event(N, "view", clock.now(), 0, b"")
    assert len(journal.pending(clock.now()).rows) == 1
    assert journal.dropped() == {"too-old": 30}


@pytest.mark.shows("KPI-7")
def test_the_outbox_is_bounded_in_bytes(path: str, clock: ManualClock) -> None:
    journal = Journal(path, clock=clock, size_max=200_000)
    rows = Rows(journal)

    def fill() -> None:
        while True:
            rows.event(N, "view", clock.now(), 0, bytes(200))

    with pytest.raises(StoreError) as caught:
        fill()
    assert caught.value.code == "outbox-full"
    assert len(journal.pending(clock.now(), limit=10_000).rows) > 500
    journal.close()
    assert os.path.getsize(path) <= 200_704


def test_a_later_layout_is_refused_and_left_alone(path: str, clock: ManualClock) -> None:
    os.makedirs(os.path.dirname(path))
    con = sqlite3.connect(path)
    con.execute("PRAGMA user_version = 99")
    con.execute("CREATE TABLE future (a)")
    con.commit()
    con.close()
    before = Path(path).read_bytes()
    with pytest.raises(StoreError, match="upgrade methrics") as caught:
        Journal(path, clock=clock).next_due()
    assert caught.value.code == "outbox-newer"
    assert Path(path).read_bytes() == before


@pytest.mark.parametrize("version", range(1, len(STEPS)))
def test_an_outbox_of_an_earlier_layout_goes_on(
    path: str, clock: ManualClock, version: int
) -> None:
    os.makedirs(os.path.dirname(path))
    now = clock.now()
    con = sqlite3.connect(path)
    con.create_function("report_id", 2, lambda _raw, kept: kept)
    con.executescript("".join(STEPS[:version]))
    con.execute(f"PRAGMA user_version = {version}")
    state = {"type": "visit", "n": 4, "catalog": N, "time": now, "due": now + 5, "one_in": 1}
    state |= {"fields": b"old"} | ({"period": 0} if version >= 3 else {})
    con.execute(
        f"INSERT INTO state ({', '.join(state)}) VALUES ({', '.join('?' * len(state))})",
        [*state.values()],
    )
    con.execute("INSERT INTO pace (type, last, next) VALUES ('visit', ?, ?)", (now - 9, now - 1))
    con.execute("INSERT INTO meta VALUES ('next_index', 7)")
    con.commit()
    con.close()
    journal = Journal(path, clock=clock)
    rows = Rows(journal)
    assert journal.next_due() == now + 5
    rows.state(N, "visit", now, now + 2, b"new", period=20_833)
    assert journal.next_due() == now + 5  # the earlier one first
    pending = journal.pending(now + 5)
    assert [(row.fields, row.n, row.period) for row in pending.rows] == [
        (b"old", 4, 0),
        (b"new", 1, 20_833),
    ]
    assert journal.paces() == {"visit": Pace(type="visit", last=now - 9, next=now - 1)}
    pace = Pace(type="visit", last=now, next=now, first_day=5)
    journal.journal([made(7, now)], pending.rows, [pace], token=pending.token)
    assert (journal.pending(now + 5).rows, journal.paces()) == ([], {"visit": pace})


def test_the_ids_of_older_reports_are_computed_again(path: str, clock: ManualClock) -> None:
    raw = seal(Kind.REPORT, encode_report(Report(bytes(32), "visit", 600, {})), bytes(32))
    os.makedirs(os.path.dirname(path))
    con = sqlite3.connect(path)
    con.executescript("".join(STEPS[:5]))
    con.execute("PRAGMA user_version = 5")
    for index, kept in enumerate((raw, b"damaged")):
        con.execute(
            "INSERT INTO report (idx, id, raw, catalog, type, time, made, due, route, state) "
            "VALUES (?, ?, ?, 1, 'visit', 600, 600, 600, 'relay', 'acknowledged')",
            (index, bytes([index]) * 32, kept),
        )
    con.commit()
    con.close()
    damaged, whole = Journal(path, clock=clock).receipts()
    assert whole.id == split(raw).id
    assert damaged.id == bytes([1]) * 32


def test_the_kept_record_and_the_count_of_waits_outlast_a_restart(
    journal: Journal, path: str, clock: ManualClock
) -> None:
    assert kept_records(path, clock) == Kept()
    records = Records(journal)
    record = sign_record([], bytes(32), time=0, expires=600)
    records.save(Kept((record.raw,), 2))
    assert [records.count_wait() for _ in range(3)] == [0, 1, 2]
    journal.close()
    again = Records(Journal(path, clock=clock))
    assert again.load() == kept_records(path, clock) == Kept((record.raw,), 2)
    assert again.count_wait() == 3
    again.forget_waits()
    assert again.count_wait() == 0
    again.save(Kept())
    assert again.load() == Kept()


def test_each_day_of_a_sign_of_life_is_kept_until_somebody_is_told(
    rows: Rows, journal: Journal, clock: ManualClock
) -> None:
    now = clock.now()
    for day, due, fields in ((2, 10, b"b"), (1, 90, b"a"), (3, 20, b"c"), (2, 5, b"later")):
        rows.state(N, "visit", now, now + due, fields, period=day)
    assert journal.next_due() == now + 90
    assert journal.pending(now + 89).rows == []
    first, second, third = journal.pending(now + 90).rows
    assert (first.fields, second.fields, third.fields) == (b"a", b"later", b"c")
    assert journal.strike_row(second)
    assert not journal.strike_row(second)
    rows.state(N, "visit", now, now, b"again", period=3)
    assert not journal.strike_row(third)
    assert [row.fields for row in journal.pending(now + 90).rows] == [b"a", b"again"]


@pytest.mark.parametrize("damage", ["garbage", "torn", "flipped"])
def test_a_damaged_file_is_moved_aside_and_a_fresh_one_begun(
    rows: Rows, journal: Journal, clock: ManualClock, damage: str
) -> None:
    for _ in range(500):
        rows.event(N, "view", clock.now(), 0, bytes(100))
    journal.close()
    path = Path(journal.path)
    whole = path.read_bytes()
    ruined = {
        "garbage": b"not a database at all" * 200,
        "torn": whole[:3000],
        "flipped": whole[:1024] + bytes(len(whole) - 1024),
    }[damage]
    path.write_bytes(ruined)
    for suffix in ("-wal", "-shm"):
        Path(journal.path + suffix).unlink(missing_ok=True)
    fresh = Journal(journal.path, clock=clock)
    Rows(fresh).event(N, "view", clock.now(), 0, b"")
    assert fresh.database.healed == 1
    assert Path(journal.path + ".damaged").exists()
    assert len(fresh.pending(clock.now()).rows) == 1


def test_a_locked_outbox_is_waited_for(rows: Rows, journal: Journal, clock: ManualClock) -> None:
    rows.event(N, "view", clock.now(), 0, b"")
    blocker = sqlite3.connect(journal.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    before = clock.monotonic()
    with pytest.raises(StoreError) as caught:
        journal.drop("late")
    assert caught.value.code == "outbox-busy"
    assert 4.9 < clock.monotonic() - before < 5.1
    blocker.execute("ROLLBACK")
    blocker.close()
    journal.drop("late")


READER = """
import sys
from methrics.node.outbox.journal import Journal
journal = Journal(sys.argv[1])
journal.dropped()
journal.close()
"""


@pytest.mark.wire
def test_two_connections_of_one_process_keep_their_locks(path: str, clock: ManualClock) -> None:
    """For example an app with its publisher in one process, or a notebook cell that ran twice.

    If opening one connection dropped the locks of the other, a third process would delete the log.
    """
    first, other = Journal(path, clock=clock), Journal(path, clock=clock)
    rows = Rows(first)
    rows.event(1, "view", clock.now(), 0, b"1")
    other.next_due()
    subprocess.run([sys.executable, "-c", READER, path], check=True, timeout=60)
    rows.event(1, "view", clock.now(), 0, b"2")
    assert os.path.exists(path + "-wal")
    fresh = sqlite3.connect(path)
    assert fresh.execute("SELECT count(*) FROM event").fetchone() == (2,)
    fresh.close()
    other.close()
    first.close()


def test_a_journal_that_was_only_read_leaves_the_next_due_time(
    app: Shop, clock: ManualClock
) -> None:
    app.allow()
    assert app.recorder.record("view", size=1)
    app.recorder.close()
    reader = app.journal
    assert reader.receipts() == []
    reader.close()
    due = read_due(reader.spools, clock.now())
    assert due is not None
    assert due > clock.now()
