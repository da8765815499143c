"""From a Mixpanel export to a catalog draft: reading, declared fields, and what is left out."""

from __future__ import annotations

import gzip
import io
import json
import random
import tomllib
import tracemalloc
from collections import Counter
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import mixpanel_making as making
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methrics.aggregate.mixpanel.draft import FIELD_BITS, draft
from methrics.aggregate.mixpanel.export import (
    LINE_MAX,
    REASONS,
    Tracked,
    open_export,
    person_of,
    read_export,
)
from methrics.aggregate.mixpanel.infer import Declared, edges_of, field_of, rounded
from methrics.aggregate.mixpanel.sketch import (
    EVENTS_MAX,
    PROPERTIES_TOTAL,
    SAMPLE,
    VALUES_TOTAL,
    Distinct,
    Property,
    Room,
    Summary,
    shape_of,
)
from methrics.aggregate.mixpanel.toml import Draft
from methrics.schema.catalog.lint import ERROR, lint_text
from methrics.schema.errors import LocalError, StoreError

NOW = making.START + 60 * making.DAY
FUNNEL = {"signin": making.STEPS}


def read(*lines: bytes, **options: ZoneInfo) -> tuple[list[Tracked], Counter[str]]:
    refused: Counter[str] = Counter()
    return list(read_export(io.BytesIO(b"\n".join(lines)), refused, **options)), refused


def summary(least: int = 10, people: int = 60) -> Summary:
    found = Summary(least)
    lines = [json.dumps(one).encode() for one in making.events(people)]
    found.add_all(read(*lines)[0])
    return found


@pytest.fixture(scope="module")
def drafted() -> Draft:
    return draft(summary(), label="music", now=NOW, funnels=FUNNEL)


# -- reading ---------------------------------------------------------------------------------------


def test_odd_and_broken_lines_are_counted_by_their_reason() -> None:
    (some, *_) = making.events(1)
    found, refused = read(*making.odd_lines(some), json.dumps(some).encode())
    assert dict(refused) == making.BROKEN
    assert {*refused, "repeated", "damaged"} == set(REASONS)
    assert [one.event for one in found] == ["Rare Event", "Rare Event", "Nobody's", some["event"]]
    assert [one.person is None for one in found] == [False, False, True, False]
    assert found[2].time == making.START + 5000, "milliseconds are understood"


def test_a_huge_line_costs_no_more_memory_than_the_limit() -> None:
    good = b'{"event": "A", "properties": {"time": 1772409600, "distinct_id": "x"}}\n'

    class Endless(io.RawIOBase):
        left = 64 * LINE_MAX

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            n = min(len(buffer), self.left)
            buffer[:n] = b"x" * n
            self.left -= n
            if not n and not self.done:
                buffer[: len(good) + 1] = b"\n" + good
                self.done = True
                return len(good) + 1
            return n

        done = False

        def readable(self) -> bool:
            return True

    refused: Counter[str] = Counter()
    tracemalloc.start()
    try:
        found = list(read_export(io.BufferedReader(Endless()), refused))  # type: ignore[type-var]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [one.event for one in found] == ["A"]
    assert refused == {"oversize": 1}
    assert peak < 8 * LINE_MAX


def test_times_in_the_time_of_the_project_become_utc() -> None:
    zone = ZoneInfo("America/Los_Angeles")

    def line(wall: int) -> bytes:
        return json.dumps({"event": "A", "properties": {"time": wall}}).encode()

    winter, summer = 1_767_225_600, 1_782_864_000
    found, _ = read(line(winter), line(summer), local=zone)
    assert [one.time for one in found] == [winter + 8 * 3600, summer + 7 * 3600]
    assert [one.time for one in read(line(winter))[0]] == [winter]


def test_a_packed_export_is_unpacked_and_a_missing_one_is_said(tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl.gz"
    line = json.dumps(making.events(1)[0]).encode()
    path.write_bytes(gzip.compress(line))
    with open_export(path) as file:
        assert len(list(read_export(file, Counter()))) == 1
    with pytest.raises(StoreError, match="is not there"):
        open_export(tmp_path / "none.jsonl")


@pytest.mark.parametrize("keep", [slice(None, -20), slice(1, None)], ids=["cut", "no-gzip"])
def test_a_damaged_packed_export_is_read_as_far_as_it_goes(tmp_path: Path, keep: slice) -> None:
    path = tmp_path / "export.jsonl.gz"
    lines = [json.dumps(one).encode() for one in making.events(20)]
    packed = gzip.compress(b"\n".join(lines))
    path.write_bytes(packed[keep])
    refused: Counter[str] = Counter()
    with open_export(path) as file:
        assert len(list(read_export(file, refused))) < len(lines)
    assert refused["damaged"] == 1


def test_an_id_is_told_apart_without_being_kept() -> None:
    assert person_of("jane") == person_of("jane") != person_of("joan")
    assert person_of(5) == person_of("5")
    assert person_of("") is person_of(None) is person_of(["x"]) is None
    assert person_of("\ud800") is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
events = st.fixed_dictionaries(
    {
        "event": st.text(max_size=12) | json_values,
        "properties": st.dictionaries(
            st.sampled_from(["time", "distinct_id", "$insert_id", "A", "$os"])
            | st.text(max_size=8),
            st.sampled_from([1772409600, 1772409600000, 1772409600.5]) | json_values,
            max_size=5,
        ),
    }
)


@settings(max_examples=40)
@given(
    st.lists(st.binary(max_size=40) | (events | json_values).map(lambda o: json.dumps(o).encode()))
)
def test_no_export_makes_reading_or_drafting_fail(lines: list[bytes]) -> None:
    found, refused = read(*lines)
    assert set(refused) <= set(REASONS)
    seen = Summary(1)
    seen.add_all(found)
    assert seen.n == len(found)
    made = draft(seen, label="any", now=NOW)
    usable, problems = lint_text(made.source(filled=True), NOW)
    assert usable is not None, problems
    made.source().encode()


# -- sketching -------------------------------------------------------------------------------------


def test_different_things_are_counted_exactly_and_then_nearly() -> None:
    rng, few, many = random.Random(4), Distinct(), Distinct()
    hashes = [rng.getrandbits(64) for _ in range(50_000)]
    for one in hashes[:2000] * 2:
        few.add(one)
    for one in hashes:
        many.add(one)
    assert few.total() == 2000
    assert abs(many.total() - 50_000) < 0.1 * 50_000


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("jane@example.org", "email"),
        ("https://example.org/x", "url"),
        ("192.0.2.7", "address"),
        ("2001:db8::1", "address"),
        ("2026-03-02T10:00:00", "time"),
        ("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "key"),
        ("sk_live_51HxTuvRandom0", "key"),
        ("+49 30 1234567", "phone"),
        ("2.5.0-beta", "version"),
        ("DE", "country"),
        ("de", "language"),
        ("jazz", "other"),
        ("x" * 100_000, "other"),
    ],
)
def test_the_shapes_of_texts(text: str, shape: str) -> None:
    assert shape_of(text) == shape


def declared(values: list[object], name: str = "thing", least: int = 2) -> Declared | str:
    """The field for a property with these values, each from another person."""
    seen, room = Property(name, least), Room()
    for person, value in enumerate(values):
        seen.add(value, person, room)
    return field_of(seen, name, least)


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("email_type", ["a", "b"] * 5, "its name suggests"),
        ("customer_id", ["a", "b"] * 5, "its name suggests"),
        ("thing", ["a", "b"] * 99 + ["jane@example.org"] * 3, "e-mail addresses"),
        ("thing", ["a", "b"] * 40 + ["https://example.org"], "links"),
        ("thing", ["a", "b"] * 40 + ["192.0.2.1"], "network addresses"),
        ("thing", [f"{n:032x}" for n in range(50)], "keys or ids"),
        ("thing", [10**9 + n * 7 for n in range(50)], "dates and times"),
        ("thing", [10**11 + n * 7 for n in range(50)], "keys or ids"),
        ("thing", [10**17, 3, 4], "too large"),
        ("thing", [["a"], "b"], "lists and objects"),
        ("thing", ["a", 1, True, "b"], "several kinds"),
        ("thing", [None, None], "never has a value"),
        ("thing", ["a"] * 9, "always the same"),
        ("thing", [5] * 9, "always the same"),
        ("thing", [f"text {n}" for n in range(9)], "no value that at least 2"),
        ("thing", [f"text {n}" for n in range(400)], "free text: about"),
        ("thing", ["a", "a", *(f"text {n}" for n in range(9))], "free text: 10"),
    ],
)
def test_what_is_left_out_and_why(name: str, values: list[object], why: str) -> None:
    found = declared(values, name)
    assert isinstance(found, str)
    assert why in found


def test_what_is_declared() -> None:
    assert isinstance(flag := declared([True, False, None]), Declared)
    assert flag.type == "flag"
    words = declared(["free"] * 9 + ["team"] * 5 + ["one of a kind", "bad;word", "bad;word"])
    assert isinstance(words, Declared)
    assert words.params == {"values": ["free", "team"]}
    assert words.note == "2 rarer values become other (18 % of events)"
    version = declared(["2.4.1", "2.13", "v3.0"])
    assert isinstance(version, Declared)
    assert (version.type, version.params) == ("version", {"max": [9, 19]})
    assert isinstance(country := declared(["DE", "FR", "US"] * 2), Declared)
    assert country.type == "country"
    assert isinstance(language := declared(["de", "de"], "language"), Declared)
    assert language.type == "language"
    pages = declared([1, 2, 3, 2.0, 5])
    assert isinstance(pages, Declared)
    assert pages.params == {"edges": [2, 3, 5]}
    seconds = declared([1.5**n / 100 for n in range(40)])
    assert isinstance(seconds, Declared)
    assert seconds.params["edges"] == [Decimal("0.05"), Decimal("0.5"), 50, 2000, 20000]


@given(st.lists(st.floats(-1e15, 1e15) | st.integers(-(10**6), 10**6), min_size=2, unique=True))
def test_edges_are_few_ascending_and_split_the_numbers(numbers: list[float]) -> None:
    numbers.sort()
    if len({round(one, 6) for one in numbers}) < 2:
        return
    edges = edges_of(numbers)
    assert 1 <= len(edges) <= 7
    assert edges == sorted(set(edges))


@given(st.floats(1e-6, 1e15))
def test_a_rounded_number_is_near_it(number: float) -> None:
    found = float(rounded(number))
    assert 0.62 < found / number < 1.6
    assert f"{rounded(number):e}"[0] in "125"


# -- the draft -------------------------------------------------------------------------------------


def test_the_draft_lints_but_for_what_a_person_has_to_write(drafted: Draft) -> None:
    usable, problems = lint_text(drafted.source(), NOW)
    assert usable is None
    assert {problem.code for problem in problems} == {"M007"}
    empty = {problem.where.rpartition(".")[2] for problem in problems}
    assert empty == {"question", "why", "owner", "review", "contact", "results"}
    assert len(problems) == 2 + 4 * len(drafted.types)


def test_filled_in_it_can_be_signed_as_it_stands(drafted: Draft) -> None:
    text = drafted.source()
    for key in ("question", "why", "owner", "review", "contact", "results"):
        link = "https://example.org/r"
        said = {"question": "Why?", "review": link, "results": link}.get(key, "somebody")
        text = text.replace(f'\n{key} = ""', f'\n{key} = "{said}"')
    usable, problems = lint_text(text, NOW)
    assert usable is not None
    assert [one for one in problems if one.severity == ERROR] == []
    assert {one.code for one in problems} <= {"M205"}
    assert all(one.field_bits <= FIELD_BITS for one in usable.types.values())


def test_what_the_draft_declares(drafted: Draft) -> None:
    found = {one.name: (one.kind, {f.name: f.type for f in one.fields}) for one in drafted.types}
    on_all = {"country": "country", "language": "language", "os": "enum", "version": "version"}
    assert found == {
        "heartbeat": ("state", on_all),
        "retention": ("state", {}),
        "signin": ("sequence", {"variant": "enum"}),
        "song_played": ("count", {"genre": "enum"}),
        "report_exported": (
            "event",
            {
                "pages": "bucket",
                "plan": "enum",
                "seconds": "bucket",
                "trial": "flag",
                "count_": "bucket",
            },
        ),
    }
    assert drafted.types[2].steps == ("sign_in_shown", "email_given", "signed_in")


def test_what_it_leaves_out_is_said_with_its_reason(drafted: Draft) -> None:
    left = {(one.event, one.key): one.why for one in drafted.left_out}
    assert left["", "$city"] == left["", "distinct_id"] == "made by Mixpanel"
    assert "free text" in left["Song Played", "Title"]
    for key in ("email", "path", "order", "tags", "note", "Always", "Address"):
        assert ("Report Exported", key) in left
    text = drafted.source()
    assert "# left out: Title (free text" in text
    assert making.SECRET not in text
    assert "user-1" not in text


def test_events_of_few_people_and_without_a_name_are_left_out() -> None:
    seen = Summary(3)
    for n in range(9):
        for event in ("Usual", "登录", "usual!", "Heartbeat"):
            seen.add(Tracked(event, n, making.START, None, {}))
    seen.add(Tracked("Rare", 1, making.START, None, {}))
    made = draft(seen, label="any", now=NOW)
    assert [one.name for one in made.types] == ["heartbeat", "retention", "usual"]
    assert {one.event: one.why for one in made.left_out} == {
        "登录": "its name cannot become the name of a type; map it with `names`",
        "usual!": "another spelling of usual",
        "Heartbeat": "heartbeat counts any activity",
        "Rare": "fewer than 3 people did it",
    }


@pytest.mark.parametrize(
    "funnel",
    [
        {"signin": ["Sign-in shown"]},
        {"signin": ["Sign-in shown", "No such event"]},
        {"signin": ["Sign-in shown", "Sign-in shown"]},
        {"Sign in": making.STEPS},
        {"heartbeat": making.STEPS},
    ],
)
def test_a_funnel_that_cannot_be_one(funnel: dict[str, list[str]]) -> None:
    with pytest.raises(LocalError) as raised:
        draft(summary(people=5), label="any", now=NOW, funnels=funnel)
    assert raised.value.code == "wrong-funnel"


@pytest.mark.parametrize("name", ['a "b" \\ c', "a\x7fb", "a\u2028b", "a\n[types.evil]", "a # b"])
def test_attack_no_name_in_an_export_breaks_the_draft(name: str) -> None:
    seen = Summary(1)
    for person in range(4):
        properties: dict[str, object] = {name: "yes" if person % 2 else "no", "plain": person}
        seen.add(Tracked(name, person, making.START, None, properties))
    made = draft(seen, label="any", now=NOW)
    assert set(tomllib.loads(made.source())["types"]) == {one.name for one in made.types}
    usable, problems = lint_text(made.source(filled=True), NOW)
    assert usable is not None, problems


def test_a_summary_of_a_hostile_export_stays_small() -> None:
    seen = Summary(10)
    rng = random.Random(2)
    for n in range(6000):
        properties: dict[str, object] = {f"p{rng.randrange(500)}": f"{n} {k}" for k in range(9)}
        properties[f"n{rng.randrange(500)}"] = rng.random()
        seen.add(Tracked(f"event {n % 400}", n, making.START, None, properties))
    seen.add(Tracked("x" * 10**6, 1, making.START, None, {}))
    seen.add(Tracked("event 0", 1, making.START, None, {"x" * 10**6: 1, "$" + "x" * 10**6: 1}))
    assert not any(len(key) > 255 for key in (*seen.events, *seen.reserved))
    assert not any(len(key) > 255 for event in seen.events.values() for key in event.properties)
    kept = [one for event in seen.events.values() for one in event.properties.values()]
    assert len(seen.events) == EVENTS_MAX
    assert seen.more_events > 0
    assert len(kept) == PROPERTIES_TOTAL
    assert sum(len(one.texts or ()) for one in kept) <= VALUES_TOTAL
    left = draft(seen, label="any", now=NOW).left_out
    assert any(one.event == "(more)" for one in left)


def test_a_property_remembers_a_bounded_number_of_its_values() -> None:
    seen, room = Property("p", 10), Room(left=300)
    for n in range(5000):
        seen.add(float(n), n, room)
        seen.add(f"text {n}", n, room)
    assert len(seen.numbers) == SAMPLE
    assert seen.texts is None
    assert room.left == 300, "given back"
    assert abs(seen.different.total() - 10_000) < 2000
