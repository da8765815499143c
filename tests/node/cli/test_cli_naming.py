"""Names of apps as a person types them: label, prefix, several matches, a misspelt one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.cli.naming import (
    WrongNameError,
    check_names,
    listed,
    matches,
    resolve_app,
    resolve_apps,
)

KEY = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=16, max_size=16)
LABEL = st.from_regex(r"[a-c][a-c0-9]?(-[a-c])?", fullmatch=True)
APPS = st.lists(st.builds("{}-{}".format, LABEL, KEY), min_size=1, max_size=6, unique=True)


@given(APPS, st.data())
def test_a_whole_name_is_always_that_app(apps: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(apps))
    assert resolve_app(name, apps) == name


@given(APPS, st.data())
def test_a_prefix_stands_for_an_app_if_and_only_if_it_is_its_alone(
    apps: list[str], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(apps))
    word = name[: data.draw(st.integers(1, len(name)))]
    labelled = [one for one in apps if one.rpartition("-")[0] == word]
    fitting = labelled or [one for one in apps if one.startswith(word)]
    if len(fitting) == 1:
        assert resolve_app(word, apps) == fitting[0]
        return
    with pytest.raises(WrongNameError) as caught:
        resolve_app(word, apps)
    assert all(one in caught.value.hint for one in fitting), "the matches are listed"


@given(st.text(max_size=40), APPS)
def test_any_word_is_an_app_or_refused_with_a_hint(word: str, apps: list[str]) -> None:
    try:
        assert resolve_app(word, apps) in apps
    except WrongNameError as error:
        assert error.hint
        assert error.exit_code == 2
        assert len(matches(word, apps)) != 1


SHOP, SHOPPING, TWIN = "shop-aaaa", "shopping-bbbb", "shop-cccc"


def test_a_label_goes_before_a_prefix() -> None:
    assert resolve_app("shop", [SHOP, SHOPPING]) == SHOP
    assert resolve_app("shopp", [SHOP, SHOPPING]) == SHOPPING
    assert resolve_app("shop-c", [SHOP, SHOPPING, TWIN]) == TWIN


def test_attack_what_changes_something_needs_more_than_a_prefix() -> None:
    with pytest.raises(WrongNameError, match="no app here is called shop") as caught:
        resolve_app("shop", [SHOPPING], whole=True)
    assert caught.value.hint == f"did you mean {SHOPPING}?"
    assert resolve_app("shopping", [SHOPPING], whole=True) == SHOPPING
    assert resolve_apps([SHOPPING], [SHOP, SHOPPING], whole=True) == (SHOPPING,)


def test_attack_a_label_that_is_the_name_of_another_app_is_not_that_app() -> None:
    name = "shop-aaaaaaaaaaaaaaaa"
    posing = f"{name}-bbbbbbbbbbbbbbbb"
    with pytest.raises(WrongNameError):
        resolve_app(name, [posing], whole=True)
    assert resolve_app(name, [posing, name], whole=True) == name
    assert resolve_app(posing, [posing, name], whole=True) == posing


def test_several_matches_are_listed() -> None:
    with pytest.raises(WrongNameError, match="shop is more than one app") as caught:
        resolve_app("shop", [SHOP, TWIN, SHOPPING])
    assert caught.value.hint == f"one of {SHOP}, {TWIN}"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("shpo", f"did you mean {SHOP}?"),
        ("Shopping", f"did you mean {SHOPPING} or {SHOP}?"),
        ("zebra", f"known here: {SHOP}, {SHOPPING}"),
        ("", f"known here: {SHOP}, {SHOPPING}"),
    ],
)
def test_an_unknown_name_comes_with_a_suggestion(word: str, hint: str) -> None:
    with pytest.raises(WrongNameError, match="no app here is called") as caught:
        resolve_app(word, [SHOPPING, SHOP])
    assert caught.value.hint == hint


def test_without_any_app_it_says_so() -> None:
    with pytest.raises(WrongNameError) as caught:
        resolve_app("shop", [])
    assert caught.value.hint == "known here: none"


def test_several_words_are_resolved_each_once() -> None:
    assert resolve_apps(["shopping", "shop", SHOP], [SHOP, SHOPPING]) == (SHOPPING, SHOP)
    assert resolve_apps([], [SHOP]) == ()


def test_other_names_are_checked_with_the_same_suggestion() -> None:
    check_names(["view"], ["view", "click"], kind="event type", owner="shop")
    with pytest.raises(WrongNameError, match="shop has no event type veiw") as caught:
        check_names(["view", "veiw"], ["view", "click"], kind="event type", owner="shop")
    assert caught.value.hint == "did you mean view?"


def test_long_lists_are_cut_with_a_count() -> None:
    assert listed([f"a{i}" for i in range(10)]).endswith("a7 and 2 more")
