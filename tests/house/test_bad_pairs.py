"""The table of docs/privacy-measured.md about bad pairs of relays: repeated with fewer installs."""

from __future__ import annotations

import re

import pytest
import ways


def shown(name: str) -> float:
    """The share of linked installs that the page shows in a row, in percent."""
    (line,) = [
        one for one in ways.PAGE.read_text("utf-8").splitlines() if one.startswith(f"| {name} |")
    ]
    found = re.match(r"\d+", line.split("|")[3].strip())
    assert found is not None
    return float(found[0])


@pytest.mark.shows("NEW-6")
@pytest.mark.parametrize("name", [one for one, (_, visits) in ways.DESIGNS.items() if visits < 100])
def test_the_page_shows_what_a_small_run_measures(name: str) -> None:
    (found,) = ways.measure(name, 60, (7,))
    assert abs(100 * found.linked - shown(name)) < 20


def test_the_page_has_each_row_once_and_a_place_for_the_table() -> None:
    page = ways.PAGE.read_text("utf-8")
    table = "".join(page.partition(ways.BEGIN)[1:]).partition(ways.END)[0] + ways.END
    assert ways.replaced(page, table) == page
    assert all(page.count(f"| {name} |") == 1 for name in ways.DESIGNS)
