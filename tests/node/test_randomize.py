"""Random answers of a node: always an answer, always the same one, and nothing more from many."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.schema.declarations import field_maps, field_of

from methrics.node.randomize import respond
from methrics.schema.chance import DRAWS, chances, shares
from methrics.schema.fields import EPSILON_MAX, EPSILON_MIN, Field

NAMESPACE = bytes(range(32))
seeds = st.binary(min_size=32, max_size=32)
epsilons = st.integers(EPSILON_MIN, EPSILON_MAX)


@st.composite
def random_fields(draw: st.DrawFn) -> Field:
    wire = draw(field_maps(name="sample"))
    assume(wire["type"] not in ("version", "count"))
    return field_of({**wire, "randomize": draw(epsilons)})


def tool(epsilon: int = 1000, values: int = 6, **more: Any) -> Field:
    words = [f"v{n}" for n in range(values - 1)]
    wire = {"name": "tool", "type": "enum", "says": "Which.", "values": words, "randomize": epsilon}
    return field_of({**wire, **more})


def install(n: int) -> bytes:
    return n.to_bytes(32, "big")


def answer(field: Field, truth: object, seed: bytes, **more: Any) -> object:
    return respond(field, truth, seed=seed, **{"namespace": NAMESPACE, "type": "kind", **more})


@given(random_fields(), seeds, st.data())
def test_an_answer_is_a_wire_value_and_always_the_same(
    field: Field, seed: bytes, data: st.DataObject
) -> None:
    truth = data.draw(st.sampled_from(field.listed()))
    found = answer(field, truth, seed)
    assert field.check(found)
    assert answer(field, truth, seed) == found


@given(field_maps(), seeds, st.integers() | st.text())
def test_a_field_that_is_not_random_is_left_as_it_is(
    wire: dict[str, Any], seed: bytes, truth: object
) -> None:
    wire.pop("randomize", None)
    assert answer(field_of(wire), truth, seed) is truth


@pytest.mark.parametrize("truth", ["nobody", "", 1, True, None, 1.5])
def test_what_is_no_value_of_the_field_is_refused(truth: object) -> None:
    with pytest.raises(ValueError, match="tool: not a value"):
        answer(tool(), truth, install(1))


def test_attack_averaging_repeated_answers_learns_nothing() -> None:
    field = tool()
    for n in range(20):
        thousand = Counter(answer(field, "v1", install(n)) for _ in range(1000))
        assert len(thousand) == 1
    # Somebody who watches one install for ever sees one draw: mostly not the truth.
    kept = sum(answer(field, "v1", install(n)) == "v1" for n in range(2000))
    assert 0.30 < kept / 2000 < 0.41  # 0.352


def test_attack_other_wordings_and_orders_of_the_same_question_draw_no_new_answer() -> None:
    field = tool()
    reworded = tool(says="Something else.")
    reordered = tool(values=6)
    reordered = field_of({**reordered.to_wire(), "values": ["v4", "v2", "v0", "v1", "v3"]})
    for n in range(500):
        seed = install(n)
        assert answer(field, "v3", seed) == answer(reworded, "v3", seed)
        assert answer(field, "v3", seed) == answer(reordered, "v3", seed)


@pytest.mark.parametrize("change", ["seed", "namespace", "type", "name", "epsilon", "values"])
def test_whatever_else_differs_draws_independently(change: str) -> None:
    field, count = tool(), 4000
    others: dict[str, Field] = {
        "name": tool(name="other_tool"),
        "epsilon": tool(1001),
        "values": field_of({**field.to_wire(), "values": ["v0", "v1", "v2", "v3", "v5"]}),
    }
    more = {"namespace": {"namespace": bytes(32)}, "type": {"type": "other"}}.get(change, {})
    pairs = Counter(
        (
            answer(field, "v1", install(n)) == "v1",
            answer(
                others.get(change, field),
                "v1",
                install(n ^ (1 << 40) if change == "seed" else n),
                **more,
            )
            == "v1",
        )
        for n in range(count)
    )
    truth, _ = chances(field)
    both = pairs[True, True] / count
    assert abs(both - truth**2) < 4 * (truth**2 * (1 - truth**2) / count) ** 0.5


def test_two_truths_of_one_install_are_answered_independently() -> None:
    field, count = tool(2000, 2), 4000
    pairs = Counter(
        (answer(field, "v0", install(n)) == "v0", answer(field, "other", install(n)) == "other")
        for n in range(count)
    )
    truth, _ = chances(field)
    expected = truth**2
    spread = 4 * (expected * (1 - expected) / count) ** 0.5
    assert abs(pairs[True, True] / count - expected) < spread


@pytest.mark.parametrize(("values", "epsilon"), [(2, 500), (2, 3000), (6, 1000), (30, 2000)])
def test_answers_come_as_often_as_declared(values: int, epsilon: int) -> None:
    field, count = tool(epsilon, values), 20_000
    found = Counter(answer(field, "v0", install(n)) for n in range(count))
    truth, other = chances(field)
    # Chi-square over all values: its mean is values - 1, and 5 standard deviations are enough.
    chi = sum(
        (found[value] - count * chance) ** 2 / (count * chance)
        for value in field.listed()
        for chance in [truth if value == "v0" else other]
    )
    assert chi < (values - 1) + 5 * (2 * (values - 1)) ** 0.5


@given(st.integers(2, 40), epsilons, st.integers(0, DRAWS - 1), st.data())
def test_every_draw_gives_an_answer_and_each_as_many_as_its_share(
    values: int, epsilon: int, draw: int, data: st.DataObject
) -> None:
    """The rule of `respond` in whole numbers: no draw is left over and none falls outside."""
    truth, other = shares(values, epsilon)
    if draw >= truth:
        assert 0 <= (draw - truth) // other < values - 1
    assert (DRAWS - 1 - truth) // other == values - 2
    assert (DRAWS - truth) % other == 0
