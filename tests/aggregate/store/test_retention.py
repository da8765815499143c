"""Which reports are over: by the day, by the report's own catalog, at any time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from methrics.aggregate.store.retention import Held, first_kept, is_over, longest, plan
from methrics.schema.example import example_catalog
from methrics.schema.wire.limits import DAY


def test_a_report_is_kept_through_the_last_day_of_its_retention() -> None:
    time = 1000 * DAY + 600
    assert not is_over(time, 30, 1030 * DAY)
    assert not is_over(time, 30, 1031 * DAY - 1)
    assert is_over(time, 30, 1031 * DAY)


@given(st.integers(0, 10**10), st.integers(1, 3653), st.integers(0, 10**10))
def test_what_is_over_is_what_lies_before_the_first_day_that_is_kept(
    time: int, retention: int, now: int
) -> None:
    assert is_over(time, retention, now) == (time // DAY < first_kept(retention, now))


@given(st.integers(0, 10**10), st.integers(1, 3653), st.integers(0, 10**10), st.integers(0, 10**9))
def test_what_is_over_stays_over(time: int, retention: int, now: int, later: int) -> None:
    assert is_over(time, retention, now + later) or not is_over(time, retention, now)


HELD = st.lists(
    st.builds(
        Held,
        schema=st.just("app"),
        type=st.sampled_from("ab"),
        retention=st.sampled_from((1, 30, 365)),
        day=st.integers(0, 500),
        reports=st.integers(1, 9),
    )
)


@given(HELD, st.integers(0, 600 * DAY))
def test_the_plan_counts_every_report_once_and_names_the_next_day(
    held: list[Held], now: int
) -> None:
    found = plan(held, now)
    total = sum(one.reports for one in held)
    assert sum(one.reports + one.gone for one in found) == total
    for one in found:
        if one.next is None:
            assert (one.reports, one.oldest) == (0, None)
            continue
        assert one.next > now // DAY
        [before] = [x for x in plan(held, (one.next - 1) * DAY) if x.type == one.type]
        [after] = [x for x in plan(held, one.next * DAY) if x.type == one.type]
        assert before.gone == one.gone < after.gone


def test_each_catalog_has_its_own_say_about_its_own_reports() -> None:
    held = [Held("app", "a", 30, 0, 2), Held("app", "a", 365, 0, 3), Held("app", "b", 30, 20, 1)]
    a, b = plan(held, 31 * DAY)
    assert (a.retentions, a.reports, a.over, a.next) == ((30, 365), 3, ((0, 2),), 366)
    assert (b.reports, b.gone, b.oldest, b.next) == (1, 0, 20, 51)


def test_erasures_of_a_catalog_are_kept_as_long_as_its_longest_retention() -> None:
    catalog = example_catalog()
    assert longest(catalog) == max(one.retention_days for one in catalog.types.values()) == 730
