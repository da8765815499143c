"""Decides whether an event type may be recorded, by rules in a fixed order (pure).

The order is: the system's policy file, DO_NOT_TRACK, METHRICS, CI, the environment that the app
declares, and the person's answer for this app, type, field and route. The first rule that forbids
the type decides. Only the person's answer can allow it; without an answer it is off. If an upgrade
of the app has changed the question, the answer can cover fewer fields than before, never more.

Environment variables:

    DO_NOT_TRACK   anything but empty or 0: off (consoledonottrack.com)
    METHRICS       one of SWITCH_ON: CI does not turn it off (the other rules still do). Any other
                   value but empty: off, so that no spelling of a no is taken for a yes
    CI and those in CI_VARIABLES, anything but empty, 0 or false: off (MIM-9)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from methrics.node.consent.answer import (
    ANSWER,
    CHANGED,
    CI,
    DEFAULT,
    DO_NOT_TRACK,
    ENVIRONMENT,
    EVERY,
    NOT_NOW,
    POLICY,
    SWITCH,
    Answer,
    Answers,
    Effective,
)

if TYPE_CHECKING:
    from methrics.schema.catalog.event_type import EventType

PRODUCTION = "production"
"""The one environment that is measured (DEB-2)."""

CI_VARIABLES = (
    "CI",
    "CONTINUOUS_INTEGRATION",
    "BUILD_NUMBER",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "JENKINS_URL",
    "BUILDKITE",
    "TEAMCITY_VERSION",
    "TRAVIS",
    "CIRCLECI",
    "CIRRUS_CI",
    "APPVEYOR",
    "TF_BUILD",
    "BITBUCKET_BUILD_NUMBER",
    "CODEBUILD_BUILD_ID",
    "DRONE",
    "WOODPECKER_CI",
    "SEMAPHORE",
)
"""Variables that CI services set; a person's machine has none of them."""

SWITCH_ON = ("on", "1", "yes", "true", "y", "t", "enable", "enabled")
"""The values of METHRICS that do not turn everything off, in any case of letters."""

VALUE_SHOWN = 40
"""Most characters of a variable's value that are shown to a person."""

_NONE: frozenset[str] = frozenset()


def off(rule: str) -> Effective:
    """Returns the state "off", with `rule` as the rule that decided."""
    return Effective(False, rule, _NONE, _NONE)


def forbidden(*, policy_off: bool, env: Mapping[str, str], environment: str) -> str | None:
    """Returns the rule that forbids everything, even if the person said yes; None if there is no
    such rule."""
    if policy_off:
        return POLICY
    if env.get("DO_NOT_TRACK", "").strip() not in ("", "0"):
        return DO_NOT_TRACK
    switch = env.get("METHRICS", "").strip().lower()
    if switch and switch not in SWITCH_ON:
        return SWITCH
    if not switch and in_ci(env):
        return CI
    if environment != PRODUCTION:
        return ENVIRONMENT
    return None


def in_ci(env: Mapping[str, str]) -> bool:
    """Returns whether this process runs in CI, where no person can be asked (MIM-9)."""
    return _ci_variable(env) is not None


def variable_of(rule: str, env: Mapping[str, str]) -> str:
    """Returns the environment variable by which `rule` forbids everything, and its value, such as
    "METHRICS=disabled"; "" if no variable does. The value is printable and at most VALUE_SHOWN
    characters long."""
    name = {DO_NOT_TRACK: "DO_NOT_TRACK", SWITCH: "METHRICS", CI: _ci_variable(env)}.get(rule)
    if name is None or name not in env:
        return ""
    value = env[name]
    cut = value if len(value) <= VALUE_SHOWN else value[: VALUE_SHOWN - 1] + "…"
    return f"{name}={''.join(one if one.isprintable() else '?' for one in cut)}"


def _ci_variable(env: Mapping[str, str]) -> str | None:
    return next((name for name in CI_VARIABLES if _set(env.get(name, ""))), None)


def decide(
    *,
    policy_off: bool,
    env: Mapping[str, str],
    environment: str,
    answers: Answers,
    namespace: str,
    type_name: str,
    declared: EventType | None = None,
) -> Effective:
    """Decides whether one event type of one namespace may be recorded (pure). Off by default.

    `declared`: the type in the app's current catalog. If it is given and the question has changed
    since the answer, the answer only covers what was asked then (see `covering`).
    """
    rule = forbidden(policy_off=policy_off, env=env, environment=environment)
    return off(rule) if rule is not None else by_answer(answers, namespace, type_name, declared)


def answer_of(answers: Answers, namespace: str, type_name: str) -> Answer | None:
    """Returns the answer that applies to one type: the answer about the type; if there is none, the
    answer about every type of the app; if there is none, the answer about every app."""
    app = answers.get(namespace, {})
    return app.get(type_name) or app.get(EVERY) or answers.get(EVERY, {}).get(EVERY)


def by_answer(
    answers: Answers, namespace: str, type_name: str, declared: EventType | None = None
) -> Effective:
    """Decides by the person's answers alone, as if no other rule existed."""
    answer = answer_of(answers, namespace, type_name)
    if answer is None:
        return off(DEFAULT)
    if not answer.on:
        return off(NOT_NOW if answer.later else ANSWER)
    if not answer.routes:
        return off(ANSWER)
    if declared is None or answer.shown is None or answer.shown == declared.to_wire():
        return Effective(True, ANSWER, answer.fields, answer.routes)
    from methrics.node.consent.covering import covered

    still = covered(answer, declared)
    if still.fields is None:
        return off(CHANGED)
    rule = CHANGED if still.changes else ANSWER
    return Effective(True, rule, still.fields, answer.routes)


def _set(value: str) -> bool:
    return value.strip().lower() not in ("", "0", "false")
