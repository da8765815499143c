"""The meter (NEW-5) never lets a report pass under the threshold or off the schema."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from row_making import Rows
from tests.listing import record_of
from trail_making import CATALOG, DAY, HEARTBEAT, NAMESPACE, START, beat, report

from methrics.node.clock import ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import Identity, Pending
from methrics.node.paths import namespace_of, user_paths
from methrics.node.process.worker import inline
from methrics.node.publish.entry import Entry
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.publish.routes import Fate, Outcome, Outgoing, Route
from methrics.node.report.parts import part_names, parts_of
from methrics.node.report.prepare import WITHHELD_AGAIN, Prepared, prepare
from methrics.node.report.threshold.crowd import PEOPLE
from methrics.node.report.threshold.keeping import (
    public_path,
    read_public,
    read_threshold,
    settings_path,
    threshold_meter,
    write_public,
    write_threshold,
)
from methrics.node.report.threshold.meter import (
    COARSE,
    Generalise,
    Meter,
    Ruling,
    Send,
    Withhold,
    meter,
    meter_of,
)
from methrics.node.report.threshold.public import Public, Row, Table, from_json, table, to_json
from methrics.schema.errors import StoreError
from methrics.schema.example import example_seed
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Report, decode_report
from methrics.schema.wire.verdict import Reason

SYSTEM = CATALOG.types["system"]
SIGNIN = CATALOG.types["signin"]
NAMES = part_names(SYSTEM)


def crowd_of(*rows: tuple[dict[str, object], int]) -> Table:
    """The summary of `system` reports."""
    counts = {tuple(values.get(name) for name in NAMES): n for values, n in rows}
    return table(NAMES, counts)  # type: ignore[arg-type]


def ask(values: dict[str, object], known: Table | None, threshold: int) -> Ruling:
    return meter(SYSTEM, report(values, START, "system"), known, threshold)


def test_a_large_enough_crowd_lets_it_go() -> None:
    known = crowd_of(({"os": "linux"}, 20), ({"os": "macos"}, 5))
    ruling = ask({"os": "linux"}, known, 20)
    assert isinstance(ruling, Send)
    assert (ruling.crowd.sharing, ruling.crowd.total) == (20, 25)
    assert isinstance(ask({"os": "linux"}, known, 21), Withhold)


def test_a_word_becomes_other_where_others_say_other() -> None:
    known = crowd_of(({"os": "other", "arch": "x86_64"}, 30), ({"arch": "x86_64"}, 500))
    ruling = ask({"os": "freebsd", "arch": "x86_64"}, known, 10)
    assert isinstance(ruling, Generalise)
    assert ruling.changed == ("os",)
    assert ruling.crowd.sharing in (30, 500)
    assert ruling.values == {"os": "other", "arch": "x86_64"}


def test_a_bucket_is_left_out_and_never_moved() -> None:
    known = crowd_of(({"os": "linux", "cores": 2}, 900), ({"os": "linux"}, 12))
    ruling = ask({"os": "linux", "cores": 3}, known, 10)
    assert isinstance(ruling, Generalise)
    assert (ruling.changed, ruling.values) == (("cores",), {"os": "linux"})


def test_what_is_not_shared_stays_unshared() -> None:
    known = crowd_of(({"os": "linux", "arch": "x86_64"}, 900))
    assert isinstance(ask({"os": "linux"}, known, 10), Withhold)


def test_a_report_without_a_large_crowd_is_withheld_with_a_reason() -> None:
    assert isinstance(ask({"os": "linux"}, None, 1), Withhold)
    ruling = ask({"os": "linux"}, crowd_of(({"os": "windows"}, 900)), 20)
    assert isinstance(ruling, Withhold)
    assert "os linux: the same in 0 other reports, fewer than your threshold of 20" in ruling.reason


def test_the_rest_of_a_report_must_be_said_by_the_crowd_too() -> None:
    """Count, sampling and sequence cannot be made less specific: they match, or the report is
    withheld."""
    names = part_names(SIGNIN)
    said = report({"variant": "a"}, START, "signin")
    rows = {tuple({**parts_of(said), "sequence": "shown@0"}.get(name) for name in names): 900}
    assert isinstance(meter(SIGNIN, said, table(names, rows), 5), Withhold)
    same = {tuple(parts_of(said).get(name) for name in names): 900}
    assert isinstance(meter(SIGNIN, said, table(names, same), 5), Send)


def test_where_people_are_counted_flags_are_not_compared() -> None:
    names = ("version", "os", "age", "country")
    known = table(names, {("1.2", "linux", 3, None): 50}, PEOPLE, "the month")
    for flag in (True, False):
        said = report(beat(monthly=flag, weekly=flag), START)
        assert isinstance(meter(HEARTBEAT, said, known, 50), Send)
    said = report(beat(country="IS"), START)
    ruling = meter(HEARTBEAT, said, known, 50)
    assert isinstance(ruling, Generalise)
    assert ruling.values == beat()


def test_a_field_that_the_data_do_not_know_yet_counts_as_telling() -> None:
    known = table(("os",), {("linux",): 500})
    ruling = ask({"os": "linux", "cores": 3}, known, 10)
    assert isinstance(ruling, Generalise)
    assert ruling.changed == ("cores",)


WORDS: dict[str, list[object]] = {
    "version": ["1.2", "1.3", "other", None],
    "os": ["linux", "freebsd", "other", None],
    "cores": [0, 1, 3, None],
    "backend": ["redis", "sqlite", "other", None],
}
values_of = st.fixed_dictionaries({name: st.sampled_from(words) for name, words in WORDS.items()})


def spoken(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.shows("NEW-5")
@given(
    values_of, st.lists(st.tuples(values_of, st.integers(1, 60)), max_size=12), st.integers(1, 40)
)
def test_never_under_the_threshold_and_never_off_the_schema(
    mine: dict[str, object], rows: list[tuple[dict[str, object], int]], threshold: int
) -> None:
    if not spoken(mine):
        return
    counts: dict[Row, int] = {}
    for values, n in rows:
        if spoken(values):
            key = tuple(values.get(name) for name in NAMES)
            counts[key] = counts.get(key, 0) + n  # type: ignore[index]
    said = report(spoken(mine), START, "system")
    ruling = meter(SYSTEM, said, table(NAMES, counts), threshold)
    if isinstance(ruling, Withhold):
        assert ruling.reason
        return
    sent = said if isinstance(ruling, Send) else replace(said, values=ruling.values)
    row = tuple(sent.values.get(name) for name in NAMES)
    assert counts[row] >= threshold  # type: ignore[index]
    assert ruling.crowd.sharing == counts[row]  # type: ignore[index]
    assert SYSTEM.check_report(sent.values, None, 1, None, START) is Reason.OK
    for name, value in sent.values.items():
        field = SYSTEM.field(name)
        assert field is not None
        assert value == said.values[name] or value == COARSE.get(field.type)
    assert set(sent.values) <= set(said.values)


def waiting(values: dict[str, object], n: int = 1, type_name: str = "system") -> Pending:
    time = START + n * 600
    return Pending(
        table="event",
        n=n,
        catalog=1,
        type=type_name,
        time=time,
        due=time,
        one_in=1,
        fields=encode(values),
    )


def prepared(*rows: Pending, by: Meter | None) -> Prepared:
    return prepare(
        rows,
        catalogs={1: CATALOG},
        allowed={"system": None},
        identity=Identity(seed=b"i" * 32, next_index=0, install_week=START),
        paces={},
        route="relay",
        now=START + DAY,
        rng=random.Random(1).random,
        entropy=bytes,
        meter=by,
    )


def sent(done: Prepared) -> list[Report]:
    return [decode_report(split(made.raw).payload) for made in done.made]


@pytest.mark.shows("NEW-5")
def test_the_publisher_withholds_generalises_and_sends() -> None:
    known = {"system": crowd_of(({"os": "linux"}, 20), ({"os": "other"}, 20))}
    by = meter_of(known, 20)
    held = prepared(waiting({"os": "linux", "arch": "s390x", "cores": 5}), by=meter_of({}, 20))
    assert (held.made, held.consumed, held.dropped) == ([], [], {})
    assert [one.report.values["arch"] for one in held.withheld] == ["s390x"]
    assert held.paces["system"].next == START + DAY + WITHHELD_AGAIN
    assert sent(prepared(waiting({"os": "linux"}), by=by))[0].values == {"os": "linux"}
    assert sent(prepared(waiting({"os": "freebsd"}), by=by))[0].values == {"os": "other"}
    assert sent(prepared(waiting({"os": "freebsd"}), by=None))[0].values == {"os": "freebsd"}


def test_equal_events_cost_one_search() -> None:
    by = meter_of({"system": crowd_of(({"os": "other"}, 20))}, 20)
    first = by(SYSTEM, report({"os": "freebsd"}, START, "system"))
    assert by(SYSTEM, report({"os": "freebsd"}, START + DAY, "system")) is first
    assert by(SYSTEM, report({"os": "other"}, START, "system")) is not first


def test_one_withheld_row_does_not_stop_the_next() -> None:
    by = meter_of({"system": crowd_of(({"os": "linux"}, 20))}, 20)
    done = prepared(waiting({"os": "macos"}, 1), waiting({"os": "linux"}, 2), by=by)
    assert [one.values for one in sent(done)] == [{"os": "linux"}]
    assert [one.row.n for one in done.withheld] == [1]
    assert done.paces["system"].next != START + DAY + WITHHELD_AGAIN


def test_files_of_the_person(nobody: Path) -> None:
    paths = user_paths(nobody)
    assert read_threshold(paths) == 0
    assert threshold_meter(paths, NAMESPACE) is None
    write_threshold(paths, 7)
    assert json.loads(Path(settings_path(paths)).read_text("utf-8"))["threshold"] == 7
    said = report({"os": "linux"}, START, "system")
    by = threshold_meter(paths, NAMESPACE)
    assert by is not None
    assert isinstance(by(SYSTEM, said), Withhold)
    public = Public(NAMESPACE, "all.duckdb", START, {"system": crowd_of(({"os": "linux"}, 7))})
    write_public(paths, public)
    assert read_public(paths, NAMESPACE) == public
    by = threshold_meter(paths, NAMESPACE)
    assert by is not None
    assert isinstance(by(SYSTEM, said), Send)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"threshold": true}', '{"threshold": -1}'])
def test_a_damaged_setting_holds_everything_back(nobody: Path, text: str) -> None:
    paths = user_paths(nobody)
    write_threshold(paths, 0)
    Path(settings_path(paths)).write_text(text, "utf-8")
    with pytest.raises(StoreError) as caught:
        read_threshold(paths)
    assert caught.value.code == "threshold-damaged"
    by = threshold_meter(paths, NAMESPACE)
    assert by is not None
    assert isinstance(by(SYSTEM, report({"os": "linux"}, START, "system")), Withhold)


def test_a_threshold_in_the_old_file_is_read_until_a_new_one_is_set(nobody: Path) -> None:
    paths = user_paths(nobody)
    old = Path(settings_path(paths)).with_name("trail.json")
    old.parent.mkdir(parents=True, exist_ok=True)
    old.write_text('{"version": 1, "threshold": 9}', "utf-8")
    assert read_threshold(paths) == 9
    write_threshold(paths, 4)
    assert read_threshold(paths) == 4
    assert not old.exists()
    Path(settings_path(paths)).unlink()
    old.write_text("{", "utf-8")
    with pytest.raises(StoreError) as caught:
        read_threshold(paths)
    assert caught.value.code == "threshold-damaged"


def test_a_file_that_cannot_be_written_is_named_in_the_error(nobody: Path) -> None:
    paths = user_paths(nobody)
    Path(settings_path(paths)).mkdir(parents=True)
    with pytest.raises(StoreError) as caught:
        write_threshold(paths, 4)
    assert caught.value.code == "threshold-unwritten"
    assert settings_path(paths) in str(caught.value)
    Path(public_path(paths, NAMESPACE)).mkdir(parents=True)
    with pytest.raises(StoreError) as caught:
        write_public(paths, Public(NAMESPACE, "all.duckdb", START, {}))
    assert caught.value.code == "public-unwritten"


def test_public_data_that_is_no_json_is_damaged(nobody: Path) -> None:
    paths = user_paths(nobody)
    write_public(paths, Public(NAMESPACE, "all.duckdb", START, {}))
    Path(public_path(paths, NAMESPACE)).write_text("{", "utf-8")
    with pytest.raises(StoreError) as caught:
        read_public(paths, NAMESPACE)
    assert caught.value.code == "public-damaged"


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"version": 3},
        {"types": []},
        {"types": {"x": {}}},
        {"made": "now"},
        {"source": None},
        {"types": {"x": {"names": ["a"], "rows": [[["x", "y"], 1]], "unit": "reports"}}},
    ],
)
def test_damaged_memory_of_the_public_data_holds_everything_back(
    nobody: Path, change: dict[str, object]
) -> None:
    paths = user_paths(nobody)
    write_threshold(paths, 1)
    public = Public(NAMESPACE, "all.duckdb", START, {"system": crowd_of(({"os": "linux"}, 7))})
    write_public(paths, public)
    document = {**to_json(public), **change}
    Path(public_path(paths, NAMESPACE)).write_text(json.dumps(document), "utf-8")
    with pytest.raises(StoreError) as caught:
        read_public(paths, NAMESPACE)
    assert caught.value.code == "public-damaged"
    by = threshold_meter(paths, NAMESPACE)
    assert by is not None
    assert isinstance(by(SYSTEM, report({"os": "linux"}, START, "system")), Withhold)


scalars = st.none() | st.booleans() | st.integers(0, 9) | st.text("ab", max_size=2)


@given(st.dictionaries(st.tuples(scalars, scalars), st.integers(1, 99)))
def test_what_is_remembered_survives_the_file(rows: dict[Row, int]) -> None:
    public = Public(NAMESPACE, "x", START, {"t": table(("a", "b"), rows)})
    assert from_json(json.loads(json.dumps(to_json(public)))) == public


class Taking:
    """A route that takes every report."""

    name = "relay"

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def records(self, topic: str, known: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        return [(record_of(CATALOG, seed=example_seed()).raw,)]

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        await outgoing.leave([item_id for item_id, _ in outgoing.items])
        self.sent += [raw for _, raw in outgoing.items]
        return {item_id: Outcome(Fate.ACKNOWLEDGED, "ok") for item_id, _ in outgoing.items}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Route]:
        yield self


@pytest.mark.shows("NEW-5")
async def test_the_publisher_asks_the_meter_of_the_person(nobody: Path) -> None:
    paths, clock, route = user_paths(nobody), ManualClock(START + DAY), Taking()
    namespace = namespace_of(CATALOG.label, CATALOG.short_key)
    grant(paths, namespace, ["system"], now=START)
    journal = Journal(paths.outbox(namespace), clock=clock)
    number = journal.keep_catalog(CATALOG.id, CATALOG.raw)
    Rows(journal).event(number, "system", START, START, encode({"os": "freebsd"}))
    journal.close()
    entry = Entry(relays=("/ip4/192.0.2.7/tcp/1/p2p/12D3KooW",))
    chosen = PublisherSettings(entry=entry, once=True)

    async def publish() -> list[dict[str, object]]:
        code = await run_publisher(
            paths, namespace, chosen, clock=clock, open_route=route.open, worker=inline
        )
        assert code == 0
        clock.advance(WITHHELD_AGAIN)
        return [decode_report(split(raw).payload).values for raw in route.sent]

    write_threshold(paths, 5)
    assert await publish() == []
    known = crowd_of(({"os": "linux"}, 900), ({"os": "other"}, 4))
    write_public(paths, Public(namespace, "all.duckdb", START, {"system": known}))
    assert await publish() == []
    known = crowd_of(({"os": "linux"}, 900), ({"os": "other"}, 5))
    write_public(paths, Public(namespace, "all.duckdb", START, {"system": known}))
    assert await publish() == [{"os": "other"}]
