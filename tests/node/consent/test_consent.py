"""Consent: the order of the rules, over every combination."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from methrics.node.consent.answer import Answer, Answers
from methrics.node.consent.decide import (
    CI_VARIABLES,
    SWITCH_ON,
    VALUE_SHOWN,
    decide,
    forbidden,
    variable_of,
)

YES = Answer(True, frozenset({"color"}), frozenset({"relay"}))
NO = Answer(False, frozenset(), frozenset())
LEDGERS: dict[str, Answers] = {
    "none": {},
    "yes": {"shop": {"view": YES}},
    "no": {"shop": {"view": NO}},
    "other app": {"bank": {"view": YES}},
    "other type": {"shop": {"buy": YES}},
    "no route": {"shop": {"view": YES._replace(routes=frozenset())}},
}


@pytest.mark.shows("MIM-9", "DEB-2", "DEB-5")
@pytest.mark.parametrize("ledger", LEDGERS)
def test_every_combination_is_decided_by_the_highest_authority(ledger: str) -> None:
    for policy, track, switch, ci, environment in itertools.product(
        (False, True),
        (None, "", "0", "1", "yes"),
        (None, "", "off", "OFF", "0", "on", "TRUE", "disabled", "nonsense"),
        (None, "", "false", "true"),
        ("production", "test", ""),
    ):
        env = {"DO_NOT_TRACK": track, "METHRICS": switch, "CI": ci}
        found = decide(
            policy_off=policy,
            env={name: value for name, value in env.items() if value is not None},
            environment=environment,
            answers=LEDGERS[ledger],
            namespace="shop",
            type_name="view",
        )
        if policy:
            expected = "policy"
        elif track in ("1", "yes"):
            expected = "do-not-track"
        elif switch not in (None, "", "on", "TRUE"):
            expected = "methrics-off"
        elif ci == "true" and not switch:
            expected = "ci"
        elif environment != "production":
            expected = "environment"
        else:
            expected = "answer" if ledger in ("yes", "no", "no route") else "default"
        assert found.rule == expected
        assert found.on == (expected == "answer" and ledger == "yes")
        if found.on:
            assert (found.fields, found.routes) == (YES.fields, YES.routes)
        else:
            assert not found.fields
            assert found.fields is not None
            assert not found.routes


@pytest.mark.shows("DEB-1")
@given(
    st.dictionaries(
        st.sampled_from(["DO_NOT_TRACK", "METHRICS", "HOME", *CI_VARIABLES]), st.text(max_size=6)
    ),
    st.booleans(),
    st.text(max_size=12),
)
def test_nothing_but_the_users_answer_ever_turns_it_on(
    env: dict[str, str], policy_off: bool, environment: str
) -> None:
    for answers in (LEDGERS["none"], LEDGERS["no"], LEDGERS["other app"], LEDGERS["other type"]):
        assert not decide(
            policy_off=policy_off,
            env=env,
            environment=environment,
            answers=answers,
            namespace="shop",
            type_name="view",
        ).on


@pytest.mark.shows("MIM-9")
@pytest.mark.parametrize("name", CI_VARIABLES)
def test_each_ci_service_turns_metrics_off(name: str) -> None:
    found = decide(
        policy_off=False,
        env={name: "https://builds.example"},
        environment="production",
        answers=LEDGERS["yes"],
        namespace="shop",
        type_name="view",
    )
    assert found.rule == "ci"


@pytest.mark.shows("DEB-5")
@given(st.text(max_size=12))
@example("disabled")
@example("none")
@example("never")
@example("n")
@example("f")
@example("onn")
def test_any_value_of_the_switch_but_a_known_yes_is_off(value: str) -> None:
    rule = forbidden(policy_off=False, env={"METHRICS": value}, environment="production")
    known = value.strip().lower() in ("", *SWITCH_ON)
    assert rule == (None if known else "methrics-off")


@pytest.mark.parametrize(
    ("env", "shown"),
    [
        ({"METHRICS": "disabled"}, "METHRICS=disabled"),
        ({"METHRICS": " n\x1b[31m"}, "METHRICS= n?[31m"),
        ({"METHRICS": "x" * 99}, f"METHRICS={'x' * (VALUE_SHOWN - 1)}…"),
        ({"DO_NOT_TRACK": "false"}, "DO_NOT_TRACK=false"),
        ({"CI": "0", "GITHUB_ACTIONS": "true"}, "GITHUB_ACTIONS=true"),
        ({}, ""),
    ],
)
def test_the_variable_that_decides_is_named(env: dict[str, str], shown: str) -> None:
    rule = forbidden(policy_off=False, env=env, environment="production")
    assert variable_of(rule or "environment", env) == shown
