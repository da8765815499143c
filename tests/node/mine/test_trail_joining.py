"""Own reports that could be linked: why, how probably, and independent of their order."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from trail_making import DAY, START, Listed, beat, own_of, report

from methrics.node.mine.own import ReadableReport
from methrics.node.mine.trail.joining import (
    ACROSS,
    FOLLOWS,
    SAME_KEY,
    SAME_TIME,
    SAME_VALUES,
    Joint,
    join,
    joined,
)
from methrics.node.mine.trail.uniqueness import ABSENT, measure
from methrics.node.report.parts import said


def find(own: list[ReadableReport], crowd: Listed) -> dict[str, Joint]:
    found = join(own, measure(own, crowd), crowd)
    return {one.way: one for one in found}


def test_rare_values_join_and_common_ones_do_not() -> None:
    own = own_of(report(beat("freebsd"), START), report(beat("freebsd"), START + 9 * DAY))
    rare = find(own, Listed(("heartbeat", START, beat("freebsd")), ("heartbeat", START, beat())))
    assert rare[SAME_VALUES].probability == 1 / 2
    assert rare[SAME_VALUES].others == 1
    assert rare[SAME_VALUES].own == tuple(own)
    many = [("heartbeat", START, beat("freebsd"))] * 40
    assert SAME_VALUES not in find(own, Listed(*many))


def test_flags_do_not_hide_that_values_are_the_same() -> None:
    own = own_of(report(beat(weekly=True), START), report(beat(weekly=False), START + 9 * DAY))
    assert find(own, Listed())[SAME_VALUES].own == tuple(own)


def test_reports_at_the_declared_interval_are_a_run() -> None:
    own = own_of(*(report(beat(), START + i * 108_000) for i in range(4)))
    found = find(own, Listed())[FOLLOWS]
    assert (found.own, found.probability) == (tuple(own), 1.0)
    rival = ("heartbeat", START + 108_600, beat())
    found = find(own, Listed(rival))[FOLLOWS]
    assert found.probability == 1 / 2
    other_month = ("heartbeat", START + 108_600, beat(monthly=True))
    assert find(own, Listed(other_month))[FOLLOWS].probability == 1.0, "its flags do not fit"


def test_a_pause_ends_a_run() -> None:
    times = [START, START + 108_000, START + 9 * DAY, START + 9 * DAY + 108_000]
    own = own_of(*(report(beat(), time) for time in times))
    runs = [one.own for one in join(own, measure(own, Listed()), Listed()) if one.way == FOLLOWS]
    assert sorted(runs, key=lambda run: run[0].time) == [(own[0], own[1]), (own[2], own[3])]


def test_two_event_types_join_by_what_both_say() -> None:
    own = own_of(
        report(beat("freebsd"), START),
        report({"version": "1.2", "os": "freebsd", "cores": 1}, START + DAY, "system"),
    )
    crowd = Listed(
        ("system", START, {"version": "1.2", "os": "freebsd"}),
        *[("heartbeat", START, beat("freebsd"))] * 9,
    )
    found = find(own, crowd)[ACROSS]
    assert found.names == ("os", "version")
    assert (found.probability, found.others) == (1 / 2, 1), "the easier direction counts"
    differ = own_of(
        report(beat("linux"), START), report({"version": "1.2", "os": "macos"}, START, "system")
    )
    assert ACROSS not in find(differ, Listed())


def test_the_same_rounded_time_joins() -> None:
    own = own_of(report(beat(), START), report({"cores": 1}, START, "system"))
    found = find(own, Listed(("heartbeat", START, {}), ("system", START + 3600, {})))
    assert found[SAME_TIME].probability == 1.0
    crowd = Listed(("heartbeat", START, {}), ("system", START, {}), ("system", START, {}))
    assert find(own, crowd)[SAME_TIME].probability == 1 / 2


def test_one_key_for_two_reports_is_certain() -> None:
    own = own_of(report(beat("linux"), START), report(beat("macos"), START + DAY), key=3)
    assert find(own, Listed())[SAME_KEY].probability == 1.0
    apart = own_of(report(beat("linux"), START), report(beat("macos"), START + DAY))
    assert SAME_KEY not in find(apart, Listed())


reports = st.tuples(
    st.sampled_from(["heartbeat", "system", "signin"]),
    st.sampled_from(["1.2", "1.3"]),
    st.sampled_from(["linux", "freebsd"]),
    st.integers(0, 12),
)


def made(drawn: list[tuple[str, str, str, int]]) -> list[ReadableReport]:
    said_ = []
    for type_name, version, os, at in drawn:
        time = START + at * 54_000
        values: dict[str, object] = {"version": version, "os": os}
        if type_name == "heartbeat":
            values = beat(os, version)
        if type_name == "signin":
            values = {"version": version}
        said_.append(report(values, time - time % 600, type_name))
    return own_of(*said_)


@given(st.lists(reports, max_size=8), st.lists(reports, max_size=8), st.integers(0, 99))
def test_joining_is_symmetric_and_does_not_depend_on_order(
    mine: list[tuple[str, str, str, int]], theirs: list[tuple[str, str, str, int]], shuffle: int
) -> None:
    own = made(mine)
    crowd = Listed(*((one.event_type.name, one.time, one.parts) for one in made(theirs)))
    mixed = list(own)
    random.Random(shuffle).shuffle(mixed)
    found = join(own, measure(own, crowd), crowd)
    again = join(mixed, measure(mixed, crowd), crowd)

    def seen(joints: list[Joint]) -> set[tuple[object, ...]]:
        return {(one.way, one.own, one.others, one.probability) for one in joints}

    assert seen(found) == seen(again)
    for one in own:
        for other in own:
            assert joined(found, one, other) == joined(found, other, one)
    for joint in found:
        assert joint.probability is not None
        assert 0 < joint.probability <= 1
        assert len(set(joint.own)) >= 2


@given(st.lists(reports, min_size=1, max_size=6), st.lists(reports, max_size=10))
def test_growing_combinations_only_shrink(
    mine: list[tuple[str, str, str, int]], theirs: list[tuple[str, str, str, int]]
) -> None:
    own = made(mine)
    crowd = Listed(*((one.event_type.name, one.time, one.parts) for one in made(theirs)))
    for statement in measure(own, crowd):
        sizes = [step.crowd.sharing for step in statement.growing]
        assert sizes == sorted(sizes, reverse=True)
        singles = {one.names[0]: one.crowd.sharing for one in statement.singles}
        for pair in statement.pairs:
            assert pair.crowd.sharing <= min(singles[name] for name in pair.names)
        assert statement.whole.sharing <= min(singles.values(), default=statement.whole.total)


def test_silence_is_a_step_of_its_own() -> None:
    own = own_of(report({"os": "linux"}, START, "system"))
    crowd = Listed(
        ("system", START, {"os": "linux"}), ("system", START, {"os": "linux", "cores": 1})
    )
    (statement,) = measure(own, crowd)
    assert [step.names[-1] for step in statement.growing[:2]] == ["os", ABSENT]
    assert [step.crowd.sharing for step in statement.growing[:2]] == [2, 1]


@pytest.mark.parametrize(
    ("state", "attempts", "left", "words"),
    [
        ("acknowledged", 1, True, "left by relay"),
        ("struck", 1, True, "may have left by relay, will not be sent again"),
        ("struck", 0, False, "struck out, never left"),
        ("due", 0, False, "waits to leave by relay"),
        ("due", 2, True, "may have left by relay, will be tried again"),
    ],
)
def test_what_became_of_a_report_in_words(
    state: str, attempts: int, left: bool, words: str
) -> None:
    (own,) = own_of(report(beat(), START), state=state, attempts=attempts)
    assert (own.may_have_left, own.fate) == (left, words)
    assert said(own.event_type, own.parts).startswith("version 1.2, os linux, daily yes")
