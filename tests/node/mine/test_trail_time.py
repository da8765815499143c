"""Other public traces: which CSV files are read, and which reports are close to them in time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from trail_making import DAY, START, Listed, beat, own_of, report

from methrics.node.mine.trail.coincidence import (
    FACT,
    RELEASE,
    SPREAD,
    beside,
    coincide,
    released_with,
)
from methrics.node.mine.trail.traces import Trace, read_traces
from methrics.schema.errors import ConfigError


def test_times_are_iso_or_unix_seconds() -> None:
    text = (
        "\ufefflabel, Time ,amount\n"
        "a,2026-08-30,1\n"
        'b,2026-08-30T02:00:00+02:00,"1,5"\n'
        "c,1788048000.9,\n"
        '"d\nd",2026-08-30T00:00:00Z,1\n\n'
    )
    found = read_traces(text.encode())
    assert found == [Trace(time=START, label=label) for label in ("a", "b", "c", "d d")]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "does not name the columns time and label"),
        (b"when,label\n1,a\n", "does not name the columns time and label"),
        (b"time,label\nyesterday,a\n", "line 2: 'yesterday' is neither"),
        (b"time,label\n1,a\n-5,a\n", "line 3: '-5' is neither"),
        (b"time,label\nnan,a\n", "line 2: 'nan' is neither"),
        (b"time,label\n1e300,a\n", "line 2: '1e300' is neither"),
        (b"time,label\n1\n", "line 2 has 1 of 2 columns"),
        (b'time,label\n1,"a\n', "line 2: unexpected end of data"),
        (b"time,label\n\xff,a\n", "not UTF-8"),
    ],
)
def test_bad_traces_are_one_clear_line(data: bytes, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_traces(data)
    assert caught.value.code == "traces"
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8")))
def test_any_bytes_are_traces_or_one_error(rest: bytes) -> None:
    for data in (rest, b"time,label\n" + rest):
        try:
            found = read_traces(data)
        except ConfigError:
            continue
        assert found == sorted(found)
        assert all(trace.label.isprintable() for trace in found)


@pytest.mark.shows("METH-3")
def test_a_trace_in_the_window_is_found_with_its_crowd() -> None:
    own = own_of(report(beat(), START))
    crowd = Listed(
        ("heartbeat", START, {}),
        ("heartbeat", START + 599, {}),
        ("heartbeat", START + 600, {}),
        ("system", START, {}),
    )
    inside, outside = Trace(time=START + 599, label="x"), Trace(time=START + 600, label="x")
    (found,) = coincide(own, [inside, outside], crowd)
    assert (found.window, found.trace, found.others) == (FACT, inside, 2)
    assert found.probability == 1 / 3
    assert coincide(own, [outside], crowd) == []


def test_the_moment_of_release_is_a_window_too() -> None:
    own = own_of(report(beat(), START))
    made = own[0].made
    crowd = Listed(("heartbeat", START - DAY, {}), ("heartbeat", START + 30 * DAY, {}))
    (found,) = coincide(own, [Trace(time=made + SPREAD - 1, label="x")], crowd)
    assert (found.window, found.others) == (RELEASE, 1)
    low, high = released_with(own[0])
    assert low < made - own[0].event_type.release.delay
    assert low <= own[0].time < high, "the own report is in its release window"


def test_without_public_data_the_crowd_is_unknown() -> None:
    (found,) = coincide(own_of(report(beat(), START)), [Trace(time=START, label="x")], None)
    assert (found.others, found.probability) == (None, None)


def test_the_smallest_crowd_comes_first() -> None:
    own = own_of(report(beat(), START), report(beat(), START + 2 * DAY))
    crowd = Listed(("heartbeat", START, {}), ("heartbeat", START, {}))
    found = coincide(
        own, [Trace(time=START, label="x"), Trace(time=START + 2 * DAY, label="x")], crowd
    )
    assert [one.others for one in found if one.window == FACT] == [0, 2]


def test_a_label_that_is_always_there_is_told_from_chance() -> None:
    own = own_of(*(report(beat(), START + i * DAY) for i in range(10)))
    wallet = [Trace(time=one.time + 60, label="wallet") for one in own[:6]]
    noise = [Trace(time=START + i * 1777, label="noise") for i in range(450)]
    found = {one.label: one for one in beside(own, sorted(wallet + noise))}
    assert (found["wallet"].close, found["wallet"].total) == (6, 10)
    assert found["wallet"].telling
    assert found["wallet"].expected < 0.1
    assert not found["noise"].telling
    assert beside([], wallet) == []
