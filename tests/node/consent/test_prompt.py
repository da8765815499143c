"""The terminal prompt: its first screen, its answers, and Enter is never a yes."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from methrics.node.clock import ManualClock
from methrics.node.consent.answer import EVERY
from methrics.node.consent.asking import Asking
from methrics.node.consent.ledger import grant, read_answers
from methrics.node.consent.prompt import prompt
from methrics.node.consent.wording import Sheet
from methrics.node.paths import Paths, namespace_of
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.example import example_catalog

if TYPE_CHECKING:
    from methrics.node.consent.answer import Answer


@pytest.fixture
def asking(shop: Catalog, paths: Paths, clock: ManualClock) -> Asking:
    return Asking([shop], paths, clock=clock, surface="terminal")


def sheets(asking: Asking) -> list[Sheet]:
    return [asking.sheet(question) for question in asking.questions()]


def said(asking: Asking, typed: str, **options: object) -> tuple[str, str]:
    out = io.StringIO()
    how = prompt(asking, sheets(asking), stdin=io.StringIO(typed), stdout=out, **options)  # type: ignore[arg-type]
    return how, out.getvalue()


def answers(asking: Asking) -> dict[str, Answer]:
    catalog = asking.catalogs[0]
    name = namespace_of(catalog.label, catalog.short_key)
    return dict(read_answers(asking.paths.ledger).get(name, {}))


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.shows("METH-19")
def test_the_first_screen_answers_what_a_newcomer_asks(asking: Asking) -> None:
    _, out = said(asking, "\n", width=80)
    text = words(out[: out.index("Your answer")])
    for part in (
        "Nothing has been recorded",
        "What leaves",
        "Who sees it Everyone: reports are public, for ever.",
        "A relay sees your network address, another the report",
        "an operator of both could join them",
        "copies that others kept stay public",
        "consent",
        "Results",
        "If you say no The app works the same.",
    ):
        assert part in text
    for one in sheets(asking):
        assert one.asks in text
    assert "An example report" not in text


@pytest.mark.shows("METH-19")
def test_everything_is_said_on_request(asking: Asking) -> None:
    shown = sheets(asking)
    _, out = said(asking, "d\n\n")
    text = words(out)
    for part in ("public, for ever", "erased", "key that is used once", "Chart"):
        assert part in text
    for one in shown:
        for part in (one.asks, *(words(fact) for _, fact in one.facts)):
            assert words(part) in text
        for field in one.fields:
            assert words(field.says) in text
        assert words(one.report) in text


def test_details_and_bytes_of_one_type(asking: Asking) -> None:
    shown = sheets(asking)
    _, out = said(asking, "d2\nb 2\nd9\ny2\n\n")
    assert words(shown[1].report) in words(out)
    assert words(shown[0].report) not in words(out)
    assert f"{shown[1].title}:\n0000" in out
    assert f"{shown[0].title}:\n0000" not in out
    assert out.count("Please type") == 2
    assert not any(answer.on for answer in answers(asking).values())


@pytest.mark.parametrize("typed", ["\n", ""])
def test_after_an_earlier_yes_the_prompt_does_not_claim_that_nothing_is_recorded(
    asking: Asking, typed: str
) -> None:
    first, *_ = asking.questions()
    asking.answer(first.event_type.name, "yes")
    _, out = said(asking, typed)
    assert "Nothing has been recorded" not in words(out)
    assert "othing is recorded" not in out
    assert "Only what you said yes to before is recorded and sent" in words(out)
    assert ("your answers so far stay" in out) == (not typed)


def test_lines_fit_the_terminal(asking: Asking) -> None:
    for width in (40, 60, 88, 200):
        _, out = said(asking, "c\n\n\n\n\n", width=width)
        whole = ("    ", "To ")  # examples, and commands to copy, stay in one line
        prose = [line for line in out.splitlines() if not line.startswith(whole)]
        assert max(map(len, prose)) <= max(min(width, 88), 75), width


def test_yes_is_for_what_was_shown_and_through_relays(asking: Asking, shop: Catalog) -> None:
    how, out = said(asking, "y\n")
    assert how == "yes"
    for name, answer in answers(asking).items():
        assert answer.on
        assert answer.fields == {field.name for field in shop.types[name].fields}
        assert answer.routes == {"relay"}
        assert answer.through == "terminal"
        assert f"{name}: on" in out


def test_no_covers_later_versions_if_nothing_of_the_app_is_allowed(asking: Asking) -> None:
    assert said(asking, "n\n")[0] == "no"
    found = answers(asking)
    assert {answer.said for answer in found.values()} == {"no"}
    assert EVERY in found
    assert asking.questions() == []


def test_no_to_a_new_type_keeps_allowed_types(asking: Asking, paths: Paths, shop: Catalog) -> None:
    name = namespace_of(shop.label, shop.short_key)
    grant(paths, name, ["view"], now=1, catalog=shop)
    said(asking, "n\n")
    found = answers(asking)
    assert found["view"].on
    assert EVERY not in found


def test_never_is_for_every_app(asking: Asking, paths: Paths) -> None:
    how, out = said(asking, "never\n")
    assert how == "never"
    assert "No app" in out
    assert read_answers(paths.ledger)[EVERY][EVERY].said == "no"


@pytest.mark.parametrize("nonsense", ["yeah", "j", "1", "yes please", "\x1b[A", "ok", "true"])
def test_only_a_clear_answer_counts(asking: Asking, nonsense: str) -> None:
    how, out = said(asking, f"{nonsense}\n")
    assert how == "not-now"
    assert "Please type" in out


@pytest.mark.shows("METH-5")
def test_choosing_types_fields_and_routes(asking: Asking) -> None:
    # buy without its second field, no to view, later to click, yes to visit; directly as well
    how, out = said(asking, "c\ny\n2\nn\n\ny\n\ndirect\n")
    assert how == "choose"
    found = answers(asking)
    assert found["buy"].fields == {"color", "version"}
    assert found["buy"].routes == {"relay", "direct"}
    assert found["view"].said == "no"
    assert found["click"].said == "not-now"
    assert found["visit"].fields == {"color", "size", "version", "daily"}
    assert "buy: on (color, version)" in out


def test_a_route_must_be_one_that_stands_there(asking: Asking) -> None:
    _, out = said(asking, "c\ny\n\n\n\n\nno\nonly direct\nDirect\n")
    assert out.count("Please type relay, direct or only Enter.") == 2
    assert answers(asking)["buy"].routes == {"relay", "direct"}


def test_fields_to_leave_out_must_be_numbers_that_stand_there(asking: Asking) -> None:
    _, out = said(asking, "c\ny\nall\n0\n9\n1, 2 3\n\n\n\n\n")
    assert out.count("Please give numbers from 1 to 3.") == 3
    assert answers(asking)["buy"].fields == frozenset()


def test_bytes_are_shown_on_request(asking: Asking) -> None:
    shown = sheets(asking)
    _, out = said(asking, "b\n\n")
    assert "".join(shown[0].raw[:32].hex(" ", 2)) in out


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.sampled_from(["", "n", "c", "l", "b", "2", "x", "direct", "never"])))
def test_no_input_without_a_yes_allows_anything(asking: Asking, lines: list[str]) -> None:
    said(asking, "".join(f"{line}\n" for line in lines))
    assert not any(answer.on for answer in answers(asking).values())


def test_an_empty_list_asks_nothing(asking: Asking) -> None:
    out = io.StringIO()
    assert prompt(asking, [], stdin=io.StringIO("y\n"), stdout=out) == "not-now"
    assert answers(asking) == {}


def test_a_yes_is_taken_once_every_row_has_been_shown(asking: Asking) -> None:
    _, out = said(asking, "y\nm\nm\nm\n\n", width=80, height=18)
    assert "m: show more" in out
    assert out.count("Please type") >= 1
    assert not any(answer.on for answer in answers(asking).values())
    how, out = said(asking, "m\nm\nm\ny\n", width=80, height=18)
    shown = re.findall(r"^ +(\d) What is asked", out, re.MULTILINE)
    assert shown == ["1", "2", "3", "4"]
    assert how == "yes"


def test_ctrl_c_ends_the_work_on_a_stamp_and_not_the_questions(asking: Asking) -> None:
    def interrupted() -> bytes:
        raise KeyboardInterrupt

    slow = [replace(one, stamped=interrupted) for one in sheets(asking)]
    out = io.StringIO()
    assert prompt(asking, slow, stdin=io.StringIO("b\ny\n"), stdout=out) == "yes"
    assert "Ended." in out.getvalue()
    assert all(answer.on for answer in answers(asking).values())


@pytest.fixture
def two_apps(shop: Catalog, paths: Paths, clock: ManualClock) -> Asking:
    return Asking([shop, example_catalog()], paths, clock=clock, surface="terminal")


def test_each_app_has_its_own_screen_and_answer(two_apps: Asking) -> None:
    how, out = said(two_apps, "y\nn\n")
    assert how == "choose"
    assert out.index("May shop share") < out.index("May example share")
    ledger = read_answers(two_apps.paths.ledger)
    shop, example = (namespace_of(one.label, one.short_key) for one in two_apps.catalogs)
    assert all(answer.on for answer in ledger[shop].values())
    assert not any(answer.on for answer in ledger[example].values())
    assert EVERY in ledger[example]


def test_leaving_at_the_second_app_keeps_the_answer_about_the_first(two_apps: Asking) -> None:
    assert said(two_apps, "y\n")[0] == "choose"
    ledger = read_answers(two_apps.paths.ledger)
    shop, example = (namespace_of(one.label, one.short_key) for one in two_apps.catalogs)
    assert all(answer.on for answer in ledger[shop].values())
    assert {answer.said for answer in ledger[example].values()} == {"not-now"}
