"""The page of measured errors: its tool runs, and the stored page covers every view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from truth_measures import INSTALLS, USE, errors
from truth_worlds import World

import truth
from methrics.aggregate.read.views import templates


def test_the_page_says_of_every_view_how_it_is_compared() -> None:
    text = truth.PAGE.read_text("utf-8")
    assert truth.compared() in text, "run `python tools/truth.py --write`"
    for template in templates():
        assert f"| `{template.name}` |" in text


def test_every_scenario_and_number_stands_on_the_page() -> None:
    text = truth.PAGE.read_text("utf-8")
    for scenario in (*truth.LIVES, *truth.WAYS):
        assert f"| {scenario} |" in text
    for number in (*INSTALLS, *USE):
        assert f"| {number} |" in text


def test_the_tool_measures_a_small_population(tmp_path: Path) -> None:
    size = truth.Size(30, 12, (1,))
    worlds = truth.measure(size, processes=1, only=["all is published"])
    (found,) = worlds
    assert found["all is published"]["DAU, %"] == 0
    assert 0 < found["all is published"]["seen"] < 100
    text = truth.page(size, worlds)
    assert "| all is published | 0 | 0 | 0 | 0 | 0 |" in text
    assert "| loss of 20 % | – |" in text


@pytest.mark.slow
def test_errors_are_nothing_without_loss_and_below_nothing_with_it(
    world: Callable[[str], World],
) -> None:
    honest, lossy, flooded = (errors(world(name)) for name in ("honest-1", "lossy", "attacked"))
    for number in ("DAU, %", "WAU, %", "MAU, %", "new, %", "sign-ins, %", "modules, %"):
        assert honest[number] == 0
        assert lossy[number] < -1
    for number in ("d1", "d7", "d30", "systems", "succeed", "b minus a"):
        assert honest[number] == 0
    assert honest["quantiles covered"] == honest["days covered"] == 100
    assert flooded["DAU, %"] > 10
    assert flooded["sign-ins, %"] == flooded["succeed"] == 0
