"""Whether anything may be recorded: one ledger per user for all apps, and who has the last word.

`decide` is pure. The order of authority: the system's policy file, DO_NOT_TRACK, METHRICS=off, CI,
the environment the app declares, then the user's answer for this namespace, type, field and route.
Nothing said means no. Every layer but the last can only say no. An upgrade of the app can take away
from an answer (a changed question), never add to it.

Environment variables:

    DO_NOT_TRACK   anything but empty or 0: off (consoledonottrack.com)
    METHRICS       off, 0, no or false: off. on: CI is not a reason for off (everything else is)
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
"""Set by build services. Checked by presence: a person's machine has none of them."""

_NONE: frozenset[str] = frozenset()


def off(rule: str) -> Effective:
    """Off, because of `rule`."""
    return Effective(False, rule, _NONE, _NONE)


def forbidden(*, policy_off: bool, env: Mapping[str, str], environment: str) -> str | None:
    """The rule above the user's answers that says no for everything, or None."""
    if policy_off:
        return POLICY
    if env.get("DO_NOT_TRACK", "").strip() not in ("", "0"):
        return DO_NOT_TRACK
    switch = env.get("METHRICS", "").strip().lower()
    if switch in ("off", "0", "no", "false"):
        return SWITCH
    if switch != "on" and in_ci(env):
        return CI
    if environment != PRODUCTION:
        return ENVIRONMENT
    return None


def in_ci(env: Mapping[str, str]) -> bool:
    """Whether this looks like a build service: nobody is there to be asked (MIM-9)."""
    return any(_set(env.get(name, "")) for name in CI_VARIABLES)


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
    """What holds for one event type of one namespace. Pure; default off.

    `declared`: the type as the app's catalog has it now. With it, an answer to a question that has
    changed since holds only for what was asked then (see `covering`).
    """
    rule = forbidden(policy_off=policy_off, env=env, environment=environment)
    return off(rule) if rule is not None else by_answer(answers, namespace, type_name, declared)


def answer_of(answers: Answers, namespace: str, type_name: str) -> Answer | None:
    """The answer that holds for one type: its own, else the app's for every type, else the
    person's for every app."""
    app = answers.get(namespace, {})
    return app.get(type_name) or app.get(EVERY) or answers.get(EVERY, {}).get(EVERY)


def by_answer(
    answers: Answers, namespace: str, type_name: str, declared: EventType | None = None
) -> Effective:
    """What the person's answers alone say."""
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
