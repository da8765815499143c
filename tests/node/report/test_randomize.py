"""Randomized response: each install always gives the same response, so many reveal no more."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.schema.declarations import field_maps, field_of

from methrics.node.consent.questions import NEW, Question
from methrics.node.consent.wording import sheet
from methrics.node.mine.preview import PLANNED, UNDRAWN
from methrics.node.mine.preview import plan as plan_preview
from methrics.node.outbox.rows import Identity, Pending, Snapshot
from methrics.node.publish.permission import Consent
from methrics.node.record.plan import TypePlan
from methrics.node.record.settings import RecorderSettings
from methrics.node.report.parts import meaning
from methrics.node.report.prepare import Prepared, prepare
from methrics.node.report.randomize import respond
from methrics.schema.catalog.chance import chances
from methrics.schema.catalog.fields import EPSILON_MAX, EPSILON_MIN, Field
from methrics.schema.errors import LocalError
from methrics.schema.example import example_catalog
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import decode_report
from methrics.schema.wire.verdict import Reason

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
    # An observer of one install sees a single draw, which is usually not the true value.
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


@pytest.mark.parametrize("change", ["seed", "namespace", "type", "name", "values"])
def test_whatever_else_differs_draws_independently(change: str) -> None:
    field, count = tool(), 4000
    others: dict[str, Field] = {
        "name": tool(name="other_tool"),
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


CATALOG = example_catalog()
ASSISTIVE = CATALOG.types["assistive"]
NOW = 1_800_000_000


def waiting(tool: str = "magnifier", n: int = 1, time: int = NOW - 86_400) -> Pending:
    fields = encode({"tool": tool})
    return Pending(
        table="state",
        n=n,
        catalog=1,
        type="assistive",
        time=time,
        due=time + 300,
        one_in=1,
        fields=fields,
    )


def made(seed: bytes, *rows: Pending, paces: Any = None, fields: Any = None) -> Prepared:
    return prepare(
        rows,
        catalogs={1: CATALOG},
        allowed={"assistive": fields},
        identity=Identity(seed=seed, next_index=0, install_week=NOW),
        paces=paces or {},
        route="relay",
        now=NOW,
        rng=random.Random(1).random,
        entropy=bytes,
    )


def test_attack_the_reports_of_years_all_say_the_one_answer() -> None:
    field = ASSISTIVE.fields[0]
    for n in range(12):
        expected = respond(
            field, "magnifier", seed=install(n), namespace=CATALOG.key, type="assistive"
        )
        told = set()
        for days in range(1, 20):
            (one,) = made(install(n), waiting(time=NOW - 86_400 * days)).made
            told.add(decode_report(split(one.raw).payload).values["tool"])
        assert told == {expected}


def test_reports_of_a_type_hold_random_answers_and_the_rest_as_it_is() -> None:
    said: Counter[object] = Counter()
    for n in range(300):
        (one,) = made(install(n), waiting()).made
        values = decode_report(split(one.raw).payload).values
        assert values["monthly"] is True
        assert ASSISTIVE.check_report(values, None, 1, None, one.time) is Reason.OK
        said[values["tool"]] += 1
    assert set(said) == set(ASSISTIVE.fields[0].listed())
    assert 70 < said["magnifier"] < 145  # 0.352 of 300


def test_a_random_field_that_is_not_shared_is_left_out() -> None:
    (one,) = made(install(1), waiting(), fields=frozenset({"monthly"})).made
    assert set(decode_report(split(one.raw).payload).values) == {"monthly"}


def test_a_random_field_cannot_be_left_out_by_the_app() -> None:
    plan = TypePlan(CATALOG.types["assistive"], 1, RecorderSettings(), None)
    for values in ({}, {"tool": None}):
        with pytest.raises(LocalError, match=r"assistive\.tool uses randomized response"):
            plan.complete(dict(values))
    plan.complete({"tool": "none"})


@pytest.mark.parametrize("seed", [None, install(4)])
def test_a_preview_before_the_first_report_says_that_its_answers_are_not_drawn_yet(
    seed: bytes | None,
) -> None:
    snapshot = Snapshot(due=[], waiting=[waiting()], paces={}, seed=seed, erasures=[])
    (one,) = plan_preview("ns", snapshot, {1: CATALOG}, Consent({"assistive": None}), "relay", NOW)
    assert (one.state, one.reason) == (PLANNED, UNDRAWN if seed is None else "")
    assert one.report is not None
    if seed is not None:
        (leaves,) = made(seed, waiting()).made
        assert decode_report(split(leaves.raw).payload).values == one.report.values


def test_a_person_reads_what_the_chances_are_before_and_after() -> None:
    asked = Question(CATALOG, ASSISTIVE, NEW)
    shown = sheet(asked, now=NOW, seed=install(2), values={"tool": "voice"})
    tool = next(field for field in shown.fields if field.name == "tool")
    assert "your machine reports the true value in 35 % of cases" in tool.says
    assert "tool: randomized, so any allowed value can be sent." in shown.note
    assert "those of this machine" in shown.note  # the flag
    assert meaning(ASSISTIVE, "tool").endswith("if any. (randomized: true in 35 %)")
