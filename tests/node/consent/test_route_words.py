"""The words about who sees the network address and who the report, from what is known."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.consent.asking import Asking
from methrics.node.consent.first_screen import first_screen
from methrics.node.consent.known_hops import dump, load_hops, parse, save_hops
from methrics.node.consent.questions import every_question
from methrics.node.consent.route_words import (
    APP,
    DOUBTS,
    NETWORK,
    NOT_KNOWN,
    ONE_RELAY,
    UNNAMED,
    Hops,
    clean,
    route_words,
)
from methrics.node.consent.screen import first_pages
from methrics.node.consent.wording import sheet
from methrics.node.paths import Paths, namespace_of, user_paths
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.example import example_catalog

ANN, BOB = "Ann's relays", "Bob"
APP_NAME = "shop-AAAAAAAAAAAA"

KNOWN = {
    "nothing": NOT_KNOWN,
    "one relay": Hops(ANN, (), ONE_RELAY),
    "one relay without a name": Hops("", (), ONE_RELAY),
    "one operator": Hops(ANN, (ANN, ANN)),
    "no names": Hops("", ("", "")),
    "the app's relays": Hops(ANN, (BOB,), APP),
    "one network": Hops(ANN, (BOB,), NETWORK),
    "an entry without a name": Hops(None, (BOB,), UNNAMED),
    "two operators": Hops(ANN, (BOB, ANN, "")),
}


@pytest.mark.shows("NEW-6")
def test_where_one_relay_is_known_it_sees_both() -> None:
    said = route_words(KNOWN["one relay"])
    assert f'The only relay ("{ANN}") sees your network address together with' in said.first
    assert "It sees the report and your network address together." in said.details
    assert "cannot open" not in said.details


@pytest.mark.shows("NEW-6")
def test_where_one_operator_is_known_it_is_named_and_could_join_both() -> None:
    said = route_words(KNOWN["one operator"])
    assert f'All relays are run by "{ANN}", who could join' in said.first
    assert f'both hops are run by "{ANN}", who could join address and report' in said.details


def test_where_both_may_be_run_by_the_same_people_their_names_do_not_hide_it() -> None:
    for case, why in (("the app's relays", "the app named both"), ("one network", "one network")):
        said = route_words(KNOWN[case])
        assert why in said.first
        assert f"{why}, so one operator may run both" in said.details
        assert BOB not in said.first + said.details


def test_an_entry_that_does_not_say_which_relay_it_is_may_see_both() -> None:
    said = route_words(KNOWN["an entry without a name"])
    assert "sees your network address, and may see the report, too" in said.first
    assert "see the report and your network address together" in said.details
    assert BOB not in said.first + said.details


def test_two_operators_are_named_as_claims() -> None:
    said = route_words(KNOWN["two operators"])
    assert f'"{ANN}" sees your network address, "{BOB}" the report, as they say.' in said.first
    assert f'run by "{ANN}", exits by "{BOB}"' in said.details
    assert "Some exits do not say who runs them." in said.details
    assert "nobody checks them" in said.details


@pytest.mark.parametrize("hops", [NOT_KNOWN, Hops(ANN), Hops(None, (BOB,)), KNOWN["no names"]])
def test_without_names_nothing_is_said_about_who_they_are(hops: Hops) -> None:
    said = route_words(hops)
    assert ANN not in said.first + said.details
    assert BOB not in said.first + said.details
    assert "could join address and report" in said.details


@pytest.mark.parametrize("hops", KNOWN.values(), ids=KNOWN)
def test_the_screen_and_the_details_say_it_and_fit(hops: Hops) -> None:
    asked = every_question([example_catalog()], {}, now=0)
    first = first_screen(asked, before=False, way_back="methrics consent", hops=hops)
    (page,) = first_pages(first, width=80, height=21)
    assert " ".join(route_words(hops).first.split()) in " ".join(page.split())
    facts = dict(sheet(asked[0], now=0, seed=bytes(32), hops=hops).facts)
    assert facts["Who sees it"] == route_words(hops).details


NAMES = st.text(max_size=64)


@given(NAMES, st.lists(NAMES, max_size=6), st.sampled_from(DOUBTS))
def test_attack_a_name_of_an_operator_moves_nothing_on_the_screen(
    entry: str, exits: list[str], doubt: str
) -> None:
    said = route_words(Hops(entry, tuple(exits), doubt))
    assert (said.first + said.details).isprintable()
    assert len(said.first) < 250


def test_attack_a_name_reads_as_a_name_and_not_as_our_sentence() -> None:
    name = 'nobody". It sees nothing.\x1b[2J\u202eevil'
    assert clean(name) == '"nobody?. It sees nothing.?[2J?evil"'


@given(st.none() | NAMES, st.lists(NAMES, max_size=6, unique=True), st.sampled_from(DOUBTS))
def test_what_is_kept_is_read_again(entry: str | None, exits: list[str], doubt: str) -> None:
    hops = Hops(entry, tuple(sorted(exits)), doubt)
    assert parse(dump(hops).encode()) == hops


def test_the_first_screen_tells_what_a_publisher_learned(shop: Catalog, paths: Paths) -> None:
    def seen() -> str:
        asking = Asking([shop], paths)
        asked = asking.questions()
        facts = dict(asking.first_screen(asked).facts)
        assert dict(asking.sheet(asked[0]).facts)["Who sees it"] == route_words(known).details
        return facts["Who sees it"]

    known = NOT_KNOWN
    assert seen() == route_words(NOT_KNOWN).first
    known = KNOWN["one operator"]
    namespace = namespace_of(shop.label, shop.short_key)
    os.makedirs(paths.namespace(namespace))
    save_hops(paths, namespace, Hops(ANN, (ANN, ANN)))
    assert seen() == route_words(known).first
    assert Path(paths.namespace(namespace), "hops.json").stat().st_mode & 0o777 == 0o600


def test_what_is_known_for_one_app_is_not_said_of_another(shop: Catalog, paths: Paths) -> None:
    other = example_catalog()
    namespace = namespace_of(shop.label, shop.short_key)
    os.makedirs(paths.namespace(namespace))
    save_hops(paths, namespace, KNOWN["two operators"])
    asking = Asking([shop, other], paths)
    asked = asking.questions()
    facts = dict(asking.first_screen(asked).facts)
    assert facts["Who sees it"] == route_words(NOT_KNOWN).first
    said = {one.namespace: dict(asking.sheet(one).facts)["Who sees it"] for one in asked}
    assert said == {
        namespace: route_words(KNOWN["two operators"]).details,
        namespace_of(other.label, other.short_key): route_words(NOT_KNOWN).details,
    }


def test_an_app_that_has_recorded_nothing_gets_no_folder(paths: Paths) -> None:
    save_hops(paths, APP_NAME, KNOWN["one operator"])
    assert not Path(paths.data).exists()


@given(st.binary(max_size=200) | st.text().map(lambda one: json.dumps(one).encode()))
def test_a_file_of_other_bytes_tells_nothing(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 2),
        ("entry", 1),
        ("entry", "x" * 65),
        ("exits", "x"),
        ("exits", [1]),
        ("exits", [""] * 129),
        ("doubt", "none"),
        ("doubt", []),
        ("more", 1),
    ],
)
def test_a_damaged_file_tells_nothing(paths: Paths, name: str, value: object) -> None:
    os.makedirs(paths.namespace(APP_NAME))
    save_hops(paths, APP_NAME, Hops(ANN, (BOB,)))
    file = Path(paths.namespace(APP_NAME), "hops.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    assert load_hops(paths, APP_NAME) == NOT_KNOWN


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    paths = user_paths(tmp_path / "file" / "home")
    save_hops(paths, APP_NAME, Hops(ANN, (BOB,)))
    assert load_hops(paths, APP_NAME) == NOT_KNOWN
