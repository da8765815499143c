"""Reports have only fields with consent and rounded times, are made once, each with a fresh key."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.listing import listed_book
from tests.schema.declarations import labels, type_maps
from tests.schema.declarations import names as declared_names

import methrics.schema
from methrics.node.clock import ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import DAY, month_number, week_start
from methrics.node.outbox.rows import Pace, Pending
from methrics.node.paths import user_paths
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.node.report.prepare import (
    NO_MILESTONE,
    OUT_OF_ORDER,
    SAID,
    Allowed,
    Identity,
    Prepared,
    prepare,
)
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, decode_report

EXAMPLE = Path(methrics.schema.__file__).parent / "example" / "example.toml"
CATALOG = load(sign(parse_source(EXAMPLE.read_text("utf-8")), b"s" * 32))
HEARTBEAT = CATALOG.types["heartbeat"]
BOOK = listed_book(CATALOG, seed=b"s" * 32)

NOW = 1_800_000_000
WEEK = 7 * DAY
IDENTITY = Identity(seed=b"i" * 32, next_index=7, install_week=NOW - NOW % WEEK)
Consents = tuple[Allowed, Allowed]
ALL: Allowed = dict.fromkeys(CATALOG.types)


def row(
    type_name: str = "heartbeat",
    values: Mapping[str, object] | None = None,
    *,
    table: str = "state",
    n: int = 1,
    time: int = NOW - 3600,
    one_in: int = 1,
    steps: object = None,
    total: int | None = None,
) -> Pending:
    fields = encode(dict({"version": "1.2", "os": "linux"} if values is None else values))
    packed = None if steps is None else encode(steps)
    return Pending(
        table=table,
        n=n,
        catalog=1,
        type=type_name,
        time=time,
        due=time + 300,
        one_in=one_in,
        fields=fields,
        steps=packed,
        total=total,
    )


def run(
    *rows: Pending,
    allowed: Allowed = ALL,
    paces: Mapping[str, Pace] | None = None,
    identity: Identity = IDENTITY,
    now: int = NOW,
    seed: int = 1,
) -> Prepared:
    return prepare(
        rows,
        catalogs={1: CATALOG},
        allowed=allowed,
        identity=identity,
        paces=paces or {},
        route="relay",
        now=now,
        rng=random.Random(seed).random,
        entropy=bytes,
    )


def reports(done: Prepared, now: int = NOW) -> list[Report]:
    """The decoded report. Fails unless the judge of a receiver accepts its bytes."""
    found = []
    for made in done.made:
        verdict = judge(made.raw, BOOK, now)
        assert isinstance(verdict, Accepted), verdict.reason
        assert verdict.item.id == made.id
        assert isinstance(verdict.body, Report)
        found.append(verdict.body)
    return found


def test_a_state_becomes_a_report_with_its_flags() -> None:
    done = run(row())
    (report,) = reports(done)
    assert report.values == {
        "version": "1.2",
        "os": "linux",
        "daily": True,
        "weekly": True,
        "monthly": True,
        "age": 0,
    }
    assert report.time == (NOW - 3600) - (NOW - 3600) % DAY
    assert [made.key_index for made in done.made] == [7]
    assert done.consumed == [row()]


@pytest.mark.shows("MARS-11")
def test_mars_11_a_heartbeat_is_small() -> None:
    done = run(row(values={"version": "9.49", "os": "windows", "country": "ZZ"}))
    assert len(done.made[0].raw) <= 256


def test_flags_are_told_once_per_period() -> None:
    last = NOW - 2 * DAY
    done = run(row(), paces={"heartbeat": Pace(type="heartbeat", last=last, next=0)})
    (report,) = reports(done)
    assert report.values["daily"] is True
    assert report.values["monthly"] is False
    assert done.paces["heartbeat"].last == report.time


@pytest.mark.shows("MARS-7", "MARS-9")
@pytest.mark.parametrize(
    ("weeks", "bucket"), [(0, 0), (1, 1), (3, 1), (4, 2), (23, 2), (24, 3), (500, 3)]
)
def test_mars_9_the_age_is_rough(weeks: int, bucket: int) -> None:
    """Bucket 0 is the first week, 1 weeks two to four, 2 five to twenty-four, 3 later."""
    done = run(row(), identity=replace(IDENTITY, install_week=NOW - weeks * WEEK))
    assert reports(done)[0].values["age"] == bucket


@pytest.mark.shows("MARS-5")
def test_mars_5_a_second_heartbeat_of_a_day_makes_no_report() -> None:
    said = Pace(type="heartbeat", last=NOW - NOW % DAY, next=NOW)
    done = run(row(), paces={"heartbeat": said})
    assert (done.made, done.consumed, done.paces) == ([], [row()], {})
    assert (done.quiet, done.dropped) == ({SAID: 1}, {})
    done = run(row(time=NOW - DAY), paces={"heartbeat": said})
    assert (done.made, done.quiet, done.dropped) == ([], {}, {OUT_OF_ORDER: 1})


def test_days_that_waited_together_are_told_in_their_order_and_apart() -> None:
    rows = [row(time=NOW - days * DAY) for days in (1, 3, 2)]
    paces, times = dict[str, Pace](), []
    for now in range(NOW, NOW + 40 * 3600, 3600):
        done = run(*rows, paces=paces, now=now, seed=now)
        assert len(done.made) <= 1
        rows = [one for one in rows if one not in done.consumed]
        paces |= done.paces
        times += [(report.time // DAY, now) for report in reports(done, now)]
    assert [day for day, _ in times] == [NOW // DAY - days for days in (3, 2, 1)]
    assert all(after - before >= 3600 for (_, before), (_, after) in pairwise(times))


def retention(day: int, pace: Pace | None = None) -> Prepared:
    paces = {"retention": pace} if pace else {}
    now = day * DAY + 9
    return run(row("retention", {"os": "linux"}, time=now), paces=paces, now=now)


def test_a_type_with_milestones_speaks_on_those_days_only() -> None:
    first, pace, said = NOW // DAY, None, list[tuple[int, object]]()
    for day in (0, 1, 2, 7, 29, 30, 31, 60):
        done = retention(first + day, pace)
        found = reports(done, (first + day) * DAY + 9)
        said += [(day, report.values["milestone"]) for report in found]
        assert done.quiet == ({} if done.made else {NO_MILESTONE: 1})
        assert not done.dropped
        pace = {"retention": pace, **done.paces}["retention"]
        assert pace is not None
        pace = replace(pace, next=0)
        assert (pace.first_day is not None) == (day < 30)
    assert said == [(0, "d0"), (1, "d1"), (7, "d7"), (30, "d30")]
    assert pace is not None
    assert (pace.first_day, pace.first_week) == (None, week_start(first * DAY))


@pytest.mark.shows("MARS-7")
def test_mars_7_the_first_day_goes_when_no_milestone_is_ahead() -> None:
    first = NOW // DAY * DAY
    told = retention(first // DAY).paces["retention"]
    assert told.first_day == first
    done = retention(first // DAY + 33, told)
    assert replace(done.paces["retention"], next=0) == Pace(
        type="retention", last=first, first_week=week_start(first)
    )
    later = first + 30 * DAY + CATALOG.types["retention"].lateness + DAY
    assert run(paces={"retention": told}, now=later).paces == {}
    assert run(paces={"retention": told}, now=later + 1).paces.keys() == {"retention"}


def test_who_was_there_before_a_type_had_milestones_is_not_new() -> None:
    done = retention(NOW // DAY, Pace(type="retention", last=NOW - 9 * DAY, next=0))
    assert (done.made, done.quiet) == ([], {NO_MILESTONE: 1})


@pytest.mark.shows("MARS-5")
@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 3 * DAY), min_size=1, max_size=60),
    st.lists(st.integers(-2 * DAY, 2 * DAY), min_size=1, max_size=60),
)
def test_mars_5_at_most_one_heartbeat_per_day_whatever_the_clock_does(
    pauses: list[int], jumps: list[int]
) -> None:
    now, paces = NOW, dict[str, Pace]()
    days, months = list[int](), list[int]()
    for pause, jump in zip(pauses, jumps, strict=False):
        now += max(0, pause + jump) if jump > 0 else pause
        shown = now + jump
        done = run(row(time=shown - 400), paces=paces, now=shown)
        paces |= done.paces
        # This ignores the release schedule, so only the rule under test can limit the reports.
        paces = {name: replace(pace, next=0) for name, pace in paces.items()}
        for report in reports(done, shown):
            days.append(report.time // DAY)
            months += [month_number(report.time)] if report.values["monthly"] else []
    assert len(days) == len(set(days))
    assert len(months) == len(set(months))


def test_a_clock_that_was_years_ahead_silences_nobody() -> None:
    done = run(row(), paces={"heartbeat": Pace(type="heartbeat", last=NOW + 5 * 365 * DAY, next=0)})
    assert len(reports(done)) == 1


@pytest.mark.shows("MARS-8")
def test_mars_8_the_next_one_is_drawn_from_the_declared_range() -> None:
    drawn = {run(row(), seed=seed).paces["heartbeat"].next - NOW for seed in range(50)}
    least, most = HEARTBEAT.release.every or (0, 0)
    assert all(least <= wait <= most + HEARTBEAT.release.jitter for wait in drawn)
    assert len(drawn) > 40


def test_a_type_whose_next_time_has_not_come_waits() -> None:
    done = run(row(), paces={"heartbeat": Pace(type="heartbeat", last=0, next=NOW + 1)})
    assert (done.made, done.consumed, done.paces) == ([], [], {})


def test_one_type_is_released_once_per_pass() -> None:
    done = run(row(n=1), row(n=2))
    assert len(done.made) == 1


@pytest.mark.shows("KPI-6")
def test_counts_are_clamped_and_sampling_is_said() -> None:
    module = {"module": "muc", "backend": "redis"}
    done = run(row("module", module, table="counter", total=5000))
    assert reports(done)[0].count == 100
    signin = row("signin", {"variant": "a"}, table="event", one_in=10, steps=[["shown", 0]])
    report = reports(run(signin))[0]
    assert (report.one_in, report.sequence) == (10, (("shown", 0),))


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        (row("nothing"), "unknown-type"),
        (replace(row(), catalog=9), "unknown-type"),
        (replace(row(), fields=b"\xff"), "damaged"),
        (replace(row(), fields=encode(["version"])), "damaged"),
        (row("signin", {"variant": "a"}, steps=[["shown"]]), "damaged"),
        (row("signin", {"variant": "a"}, steps={"shown": 0}), "damaged"),
        (row("signin", {"variant": "a"}, steps=[[1, 0]]), "damaged"),
        (row("signin", {"variant": "a"}), "empty"),
        (row("system", {}), "empty"),
        (row(values={"os": "plan9"}), "off-schema"),
        (row(time=NOW - 22 * DAY), "late"),
        (row("module", {"module": "muc"}, table="counter", total=0), "off-schema"),
        (row(one_in=3), "off-schema"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows_that_make_no_report_are_dropped_and_counted(damaged: Pending, why: str) -> None:
    done = run(damaged)
    assert done.made == []
    assert done.consumed == [damaged]
    assert dict(done.dropped) == {why: 1}


@pytest.mark.shows("METH-15", "DEB-10")
def test_deb_10_an_expired_type_is_dropped() -> None:
    now = HEARTBEAT.expires
    done = run(row(time=now - 3600), now=now)
    assert dict(done.dropped) == {"expired": 1}


def test_without_consent_rows_stay_where_they_are() -> None:
    done = run(row(), allowed={"system": None})
    assert (done.made, done.consumed, done.paces) == ([], [], {})


VALUES: dict[str, dict[str, object]] = {
    "heartbeat": {"version": "1.2", "os": "linux", "country": "FR"},
    "system": {"version": "1.2", "os": "linux", "arch": "aarch64", "cores": 2},
    "signin": {"variant": "a", "language": "fr", "new_account": True},
}


@pytest.mark.shows("METH-2")
@given(
    st.lists(st.sampled_from(sorted(VALUES)), max_size=6),
    st.dictionaries(
        st.sampled_from(sorted(VALUES)),
        st.none()
        | st.frozensets(st.sampled_from(sorted({name for v in VALUES.values() for name in v}))),
    ),
    st.integers(0, DAY),
)
def test_meth_2_nothing_leaves_beyond_what_is_consented_to(
    names: list[str], allowed: dict[str, frozenset[str] | None], age: int
) -> None:
    rows = [
        row(
            name,
            VALUES[name],
            n=number,
            time=NOW - age,
            steps=[["shown", 0], ["signed_in", 2]] if name == "signin" else None,
        )
        for number, name in enumerate(names)
    ]
    done = run(*rows, allowed=allowed)
    for report in reports(done):
        fields = allowed[report.type]
        declared = {one.name: one for one in CATALOG.types[report.type].fields}
        assert report.type in names
        for name, value in report.values.items():
            assert name in declared
            assert fields is None or name in fields
            assert declared[name].source or value == VALUES[report.type][name]
        assert report.time % 600 == 0
    keys = {judge(made.raw, BOOK, NOW).item.key for made in done.made}  # type: ignore[union-attr]
    assert len(keys) == len(done.made)


SECRET = "canary-7f3a"
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.just(SECRET),
    st.binary(max_size=4),
    st.lists(st.just(SECRET), max_size=2),
    st.sampled_from(["FR", "fr", "1.2", "1.2.3", "other", "ZZ"]),
)


FITTING = {
    "flag": st.booleans(),
    "bucket": st.integers(-100, 100_000),
    "version": st.sampled_from(["1.0", "0.1", "1.2.3"]),
    "country": st.sampled_from(["FR", "DE"]),
    "language": st.sampled_from(["fr", "de"]),
    "count": st.integers(0, 9),
}


def raw_value(field: Mapping[str, Any]) -> st.SearchStrategy[object]:
    """Values that an app may pass for a field, most of them valid."""
    kind = field["type"]
    fits = st.sampled_from(field["values"]) if kind == "enum" else FITTING[kind]
    return st.one_of(*[fits] * 9, anything)


def consent(wire: Mapping[str, Any]) -> st.SearchStrategy[Allowed]:
    """Any consent to the types of a catalog, by type and field. It is seldom empty."""

    def fields(one: Mapping[str, Any]) -> st.SearchStrategy[frozenset[str] | None]:
        names = [field["name"] for field in one["fields"]]
        some = st.frozensets(st.sampled_from(names), min_size=1) if names else st.none()
        return st.one_of(st.none(), some, some, some if not names else st.just(frozenset()))

    each = {name: fields(one) for name, one in wire["types"].items()}
    return st.one_of(
        st.fixed_dictionaries(each),
        st.fixed_dictionaries(each),
        st.fixed_dictionaries({}, optional=each),
    )


@st.composite
def use(draw: st.DrawFn) -> tuple[Catalog, dict[str, dict[str, object]], Consents]:
    """Any catalog, the values that an app passes for each type, and two consents: the person may
    change the consent between recording and sending."""
    rich = type_maps().filter(lambda one: len(one["fields"]) > 1)
    wire: dict[str, Any] = {
        "label": draw(labels),
        "number": 1,
        "contact": "somebody",
        "types": draw(
            st.dictionaries(declared_names, rich | rich | type_maps(), min_size=1, max_size=3)
        ),
    }
    recorded: dict[str, dict[str, object]] = {}
    for name, one in wire["types"].items():
        # Sampling and proof of work have other tests. Here every event should become a report.
        one |= {"one_in": [1], "work": 0}
        values = {field["name"]: raw_value(field) for field in one["fields"]}
        recorded[name] = draw(
            st.fixed_dictionaries(values) | st.fixed_dictionaries({}, optional=values)
        )
        if draw(st.integers(0, 9)) == 0:
            recorded[name]["email"] = SECRET
    catalog = load(seal(Kind.CATALOG, encode(wire), b"s" * 32))
    return catalog, recorded, (draw(consent(wire)), draw(consent(wire)))


def live(
    catalog: Catalog,
    recorded: Mapping[str, Mapping[str, object]],
    agreed: Allowed,
    allowed: Allowed,
    home: str,
) -> list[Report]:
    """Runs the real code from an app's call to the bytes that leave."""
    clock = ManualClock(1_700_000_000)
    paths = user_paths(home, policy=f"{home}/policy.json")
    app = Recorder(catalog, paths, RecorderSettings(publisher="none"), clock=clock)
    for name, fields in agreed.items():
        grant(paths, app.namespace, [name], fields=fields, now=clock.now())
    for name, values in recorded.items():
        kind = catalog.types[name].kind
        if kind == "sequence":
            with app.sequence(name, **values) as sequence:
                sequence.step(catalog.types[name].sequence.steps[0])  # type: ignore[union-attr]
                sequence.step(SECRET)
        else:
            app.record(name, **values)
    app.close()
    journal = Journal(paths.outbox(app.namespace), clock=clock)
    found: list[Report] = []
    while journal.exists() and (due := journal.next_due()) is not None:
        clock.advance(max(0, due - clock.now()))
        pending = journal.pending(clock.now())
        done = prepare(
            pending.rows,
            catalogs={number: load(raw) for number, raw in journal.catalogs().items()},
            allowed=allowed,
            identity=journal.identity(clock.now()),
            paces=journal.paces(),
            route="relay",
            now=clock.now(),
            rng=random.Random(1).random,
            entropy=bytes,
        )
        journal.journal([], done.consumed, done.paces.values(), token=pending.token)
        for made in done.made:
            assert SECRET.encode() not in made.raw
            found.append(decode_report(split(made.raw).payload))
        if not done.consumed:
            break
    journal.close()
    return found


@pytest.mark.shows("METH-2")
@settings(max_examples=100)
@given(use())
def test_meth_2_for_any_catalog_consent_and_values_only_agreed_wire_values_leave(
    drawn: tuple[Catalog, dict[str, dict[str, object]], Consents],
) -> None:
    catalog, recorded, (agreed, allowed) = drawn
    with tempfile.TemporaryDirectory() as home:
        found = live(catalog, recorded, agreed, allowed, home)
    for report in found:
        event_type = catalog.types[report.type]
        assert report.catalog == catalog.id
        assert report.type in agreed
        assert report.type in allowed
        fields = {field.name: field for field in event_type.fields}
        for chosen in (agreed[report.type], allowed[report.type]):
            assert report.values.keys() <= (fields.keys() if chosen is None else chosen)
        for name, value in report.values.items():
            assert fields[name].check(value)
            assert name in recorded[report.type]
        assert report.time % event_type.resolution == 0
        assert (report.count is None) == (event_type.max_count is None)
        assert report.count is None or 1 <= report.count <= (event_type.max_count or 0)
        if event_type.sequence is not None:
            assert report.sequence == ((event_type.sequence.steps[0], 0),)


def test_the_property_is_about_something(tmp_path: Path) -> None:
    """Fields with consent do leave by the same code."""
    said = {"system": {"os": "linux", "arch": "aarch64"}, "module": {"module": SECRET}}
    agreed: Allowed = {"system": frozenset({"os"}), "module": None}
    found = live(CATALOG, said, agreed, agreed, str(tmp_path))
    assert [(one.type, one.values) for one in sorted(found, key=lambda one: one.type)] == [
        ("module", {"module": "other"}),
        ("system", {"os": "linux"}),
    ]
