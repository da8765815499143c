"""Durations as they are typed: one parser, and its inverse."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.cli.durations import Duration
from methrics.node.durations import UNITS, duration_text, read_duration


@given(st.integers(0, 10**8), st.sampled_from(sorted(UNITS)))
def test_a_number_and_its_unit_are_read_exactly(count: int, unit: str) -> None:
    assert read_duration(f"{count}{unit}") == count * UNITS[unit]


@given(st.integers(0, 10**13).map(lambda millionths: millionths / 1e6))
def test_what_is_printed_is_read_back(seconds: float) -> None:
    assert read_duration(duration_text(seconds)) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.5, "0.5s"), (90, "90s"), (3600, "1h"), (604_800, "1w")]
)
def test_the_shortest_form_is_printed(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.text())
def test_any_text_is_a_duration_or_refused_in_a_sentence(text: str) -> None:
    try:
        assert read_duration(text) >= 0
    except ValueError as error:
        assert "unit" in str(error) or "not a duration" in str(error)


@pytest.mark.parametrize("text", ["30", "0", " 1.5 "])
def test_a_bare_number_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ValueError, match=f"has no unit: {text.strip()}s is seconds"):
        read_duration(text)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 s", "1e3s", "1y", "soon", "٣s", "1s1s"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration, such as 90s"):
        read_duration(text)


def test_an_option_has_bounds() -> None:
    kind = Duration(least=1, most=3600)
    assert kind.convert("1h", None, None) == 3600
    for outside in ("0.5s", "61m"):
        with pytest.raises(click.BadParameter, match="not between 1s and 1h"):
            kind.convert(outside, None, None)
