"""TOML sources: each text gives a source or a list of problems, with one clear line each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.schema.declarations import catalog_maps

from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import SOURCE_MAX, CatalogSource, parse_source, read_source
from methrics.schema.errors import CatalogError
from methrics.schema.example import example_seed, example_source
from methrics.schema.wire.codec import encode
from methrics.schema.wire.problem import Problem

LINES = example_source().splitlines()

MINIMAL = """
[catalog]
label = "tiny"
contact = "me"
results = "https://example.org/results"

[types.visit]
kind = "event"
question = "How often?"
why = "To know."
owner = "me"
review = "https://example.org/r"
expires = 2028-07-01
retention_days = 30
entropy_bits = 4
chart = "line"

[types.visit.release]
delay = 300
jitter = 600

[types.visit.fields.page]
type = "enum"
values = ["home", "help"]
says = "Which page."
"""


def judged(text: str) -> CatalogSource | list[Problem]:
    """The source, or its problems after a check of their wording."""
    found = read_source(text)
    if isinstance(found, CatalogSource):
        assert load(sign(found, example_seed())).to_payload() == found.payload()
        return found
    assert found
    for problem in found:
        line = str(problem)
        assert line.isprintable()
        assert len(line) < 600
        assert problem.code.startswith("M0")
        assert problem.severity == "error"
    return found


def toml(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return f"{{{', '.join(f'{toml(k)} = {toml(v)}' for k, v in value.items())}}}"


def as_source(wire: dict[str, Any]) -> str:
    """The TOML for a payload map: the inverse of `read_source`."""
    import datetime

    lines = ["[catalog]"]
    head = {key: value for key, value in wire.items() if key != "types"}
    if "previous" in head:
        head["previous"] = head["previous"].hex()
    lines += [f"{key} = {toml(value)}" for key, value in head.items()]
    for name, entry in wire["types"].items():
        lines.append(f"[types.{name}]")
        for key, value in entry.items():
            if key == "expires":
                day = datetime.datetime.fromtimestamp(value, datetime.UTC).date()
                lines.append(f"expires = {day.isoformat()}")
            elif key == "lateness":
                lines.append(f"lateness_days = {value // 86_400}")
            elif key == "fields":
                fields = {
                    field["name"]: {
                        # In thousandths on the wire, which has no fractions.
                        k: {"epsilon": v / 1000} if k == "randomize" else v
                        for k, v in field.items()
                        if k != "name"
                    }
                    for field in value
                }
                lines.append(f"fields = {toml(fields)}")
            else:
                lines.append(f"{key} = {toml(value)}")
    return "\n".join(lines)


@settings(max_examples=60)
@given(catalog_maps())
def test_source_and_payload_say_the_same(wire: dict[str, Any]) -> None:
    found = judged(as_source(wire))
    assert isinstance(found, CatalogSource), found
    payload = encode(wire)
    assert found.payload() == payload
    assert Catalog.from_payload(payload, bytes(32), bytes(32), payload).to_payload() == payload


@given(st.text(max_size=200))
@example("")
@example("[catalog]\nlabel = 1")
@example("types = 3")
@example("[types]\nx = 3")
@example("catalog = []")
@example("x = " + "[" * 5000)
@example("x = " + "9" * 5000)
@example("x = 0x" + "f" * 5000)
@example("[catalog]\nnumber = 0x" + "f" * 5000)
@example("x = 1e999999999999999999999")
@example("x" * (SOURCE_MAX + 1))
@example("\x00")
@example('"a\\u0000b" = 1')
def test_any_text_is_a_list_of_problems(text: str) -> None:
    assert isinstance(judged(text), list)


@given(st.data())
def test_a_changed_source_is_a_source_or_a_list_of_problems(data: st.DataObject) -> None:
    lines = list(LINES)
    at = data.draw(st.integers(0, len(lines) - 1))
    new = data.draw(
        st.sampled_from(
            [
                *("", "x = 1", "kind = 'event'", "[types.x]", "[types.heartbeat.fields.x]"),
                *("type = 'flag'", "type = 3", "edges = [inf, nan]", "edges = [1e-30]"),
                *("edges = [1e15, 2e300]", "max = [[1]]", "values = [{}]", "every = 3"),
                *("expires = 2028-07-01T00:00:00Z", "expires = 0001-01-01", "one_in = [0]"),
                *("steps = ['a', 'a']", "fields = []", "release = []", "lateness = 3"),
            ]
        )
    )
    lines[at] = new
    judged("\n".join(lines))


@given(st.integers(0, len(example_source())), st.integers(0, 200))
def test_a_source_with_a_hole_is_a_source_or_a_list_of_problems(start: int, size: int) -> None:
    text = example_source()
    judged(text[:start] + text[start + size :])


def test_the_smallest_source_gets_the_defaults() -> None:
    source = parse_source(MINIMAL)
    visit = source.types["visit"]
    assert (source.label, source.number, source.previous, source.contact) == (
        *("tiny", 1, None, "me"),
    )
    assert (visit.lateness, visit.resolution, visit.pseudonym) == (21 * 86_400, 600, "none")
    assert (visit.one_in, visit.work) == ((1,), 0)
    assert visit.expires == 1_846_022_400
    assert visit.release.every is None


def test_fields_keep_the_order_of_the_source() -> None:
    names = [field.name for field in parse_source(example_source()).types["client"].fields]
    assert names == ["version", "language", "screen", "browser"]


def test_decimal_edges_are_written_exactly() -> None:
    bucket = 'type = "bucket"\nedges = [-0.50, 0.1, 1.0, 2.5e0, 10]'
    text = MINIMAL.replace('type = "enum"\nvalues = ["home", "help"]', bucket)
    field = parse_source(text).types["visit"].fields[0]
    assert field.params["edges"] == ["-0.5", "0.1", 1, "2.5", 10]
    assert [field.coerce(raw) for raw in (-1, -0.5, 0.1, 2.49, 2.5, 11)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.shows("METH-11", "MIM-7", "KPI-11")
@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            'kind = "event"',
            'kind = "events"',
            "error M010 types.visit.kind: 'events' is not one of event, count, state, sequence",
        ),
        (
            'owner = "me"',
            'ownr = "me"',
            "error M002 types.visit: unknown key 'ownr'; known: ",
        ),
        ('owner = "me"', "", "error M003 types.visit: owner is missing; add it"),
        ('question = "How often?"', "", "error M003 types.visit: question is missing; add it"),
        ('why = "To know."', "", "error M003 types.visit: why is missing; add it"),
        ("expires = 2028-07-01", "", "error M003 types.visit: expires is missing; add it"),
        ("retention_days = 30", "", "error M003 types.visit: retention_days is missing; add it"),
        ('review = "https://example.org/r"', "", "error M003 types.visit: review is missing"),
        ("entropy_bits = 4", "", "error M003 types.visit: entropy_bits is missing"),
        (
            "entropy_bits = 4",
            "entropy_bits = 1",
            "error M016 types.visit: a report can hold 1.58 bits, its budget is 1; ",
        ),
        (
            "expires = 2028-07-01",
            'expires = "2028-07-01"',
            "error M004 types.visit.expires: should be a date such as 2027-01-31, without quotes",
        ),
        (
            "expires = 2028-07-01",
            "expires = 2128-07-01",
            "error M005 types.visit.expires: should be a date before 2106",
        ),
        (
            'why = "To know."',
            'why = "To know."\nlateness = 3',
            "error M002 types.visit: unknown key lateness; give lateness_days",
        ),
        (
            'says = "Which page."',
            "",
            "error M003 types.visit.fields.page: says is missing; add it",
        ),
        (
            'says = "Which page."',
            'says = """Which\npage."""',
            "error M007 types.visit.fields.page.says: has a line break or control character; ",
        ),
        (
            'values = ["home", "help"]',
            "value = 3",
            "error M002 types.visit.fields.page: unknown key 'value'; known: ",
        ),
        (
            'values = ["home", "help"]',
            'values = ["home", 3]',
            "error M004 types.visit.fields.page.values: should be text, is a whole number",
        ),
        (
            'type = "enum"\nvalues = ["home", "help"]',
            'type = "bucket"\nedges = [1.123456789012]',
            "error M004 types.visit.fields.page.edges: should be whole numbers up to 2^53 - 1 ",
        ),
        ("delay = 300", "delay = 60", "error M014 types.visit.release.delay: should be at least "),
        ("jitter = 600", "", "error M003 types.visit.release: jitter is missing; add it"),
        (
            "jitter = 600",
            "jitter = 600\nevery = [3600, 7200]",
            "error M011 types.visit.release.every: a state needs every = ",
        ),
        ('label = "tiny"', 'label = "Tiny"', "error M006 catalog.label: 'Tiny' is not allowed; "),
        ('label = "tiny"', 'name = "tiny"', "error M002 catalog: unknown key 'name'; known: "),
        (
            'label = "tiny"',
            'label = "tiny"\nnumber = 2',
            "error M017 catalog.previous: number 1 has no previous catalog, ",
        ),
        (
            'label = "tiny"',
            'label = "tiny"\nnumber = 2\nprevious = "abc"',
            "error M007 catalog.previous: should be the 64 hex digits of a catalog's id",
        ),
        ("[types.visit]", "[tips.x]\n[types.visit]", "error M002 source: unknown table 'tips'; "),
        ("fields.page", "fields.Page", "error M006 types.visit.fields: 'Page' is not allowed; "),
        ("fields.page", "fields.n", "error M012 types.visit.fields.n: n is a column of every "),
        ("[types.visit.fields.page]", "[types.visit.field.page]", "error M002 types.visit: unkn"),
        (
            'says = "Which page."',
            'says = "Which page."\nrandomize = 1.0',
            "error M004 types.visit.fields.page.randomize: should be a table, is a decimal number",
        ),
        (
            'says = "Which page."',
            'says = "Which page."\nrandomize = {}',
            "error M003 types.visit.fields.page.randomize: epsilon is missing; add it",
        ),
        *(
            (
                'says = "Which page."',
                f'says = "Which page."\nrandomize = {{epsilon = {epsilon}}}',
                f"error {code} types.visit.fields.page.randomize.epsilon: should {rule}",
            )
            for code, rule, epsilons in (
                ("M004", "be a number such as 1.0", ('"1"', "true")),
                (
                    "M005",
                    "lie from 0.1 ",
                    ("0", "0.0999", "-1", "10.001", "nan", "inf", "1e999999"),
                ),
                ("M005", "have three decimals at most", ("0.1234", "1.0000000001")),
            )
            for epsilon in epsilons
        ),
        (
            'type = "enum"\nvalues = ["home", "help"]',
            'type = "count"\nmax = 3\nrandomize = {epsilon = 1}',
            "error M020 types.visit.fields.page.randomize: needs one of the types enum, flag, ",
        ),
        (
            'type = "enum"\nvalues = ["home", "help"]',
            'type = "flag"\nsource = "first_of_day"\nrandomize = {epsilon = 1}',
            "error M020 types.visit.fields.page.randomize: a field with a source cannot",
        ),
    ],
)
def test_a_mistake_gets_one_line_that_says_where_what_and_what_to_do(
    old: str, new: str, line: str
) -> None:
    assert old in MINIMAL
    found = judged(MINIMAL.replace(old, new))
    assert isinstance(found, list)
    assert str(found[0]).startswith(line)


@pytest.mark.parametrize(
    ("epsilon", "wire"), [("1", 1000), ("1.0", 1000), ("0.1", 100), ("10", 10_000), ("2.345", 2345)]
)
def test_epsilon_stands_in_thousandths_on_the_wire(epsilon: str, wire: int) -> None:
    text = MINIMAL.replace(
        'says = "Which page."', f'says = "Which page."\nrandomize = {{epsilon = {epsilon}}}'
    )
    (field,) = parse_source(text).types["visit"].fields
    assert (field.randomize, field.to_wire()["randomize"]) == (wire, wire)


def test_all_mistakes_are_listed_at_once() -> None:
    text = MINIMAL.replace('kind = "event"', 'kind = "events"').replace("delay = 300", "delay = 3")
    text = text.replace('["home", "help"]', '["home", "home"]')
    found = judged(text)
    assert isinstance(found, list)
    assert sorted(problem.code for problem in found) == ["M008", "M010", "M014"]


def test_parse_names_the_first_problem_and_the_number_of_the_others() -> None:
    text = MINIMAL.replace("delay = 300", "delay = 3").replace("jitter = 600", "jitter = -1")
    with pytest.raises(CatalogError, match=r"M014 types\.visit\.release\.delay.*, and 1 more"):
        parse_source(text)
