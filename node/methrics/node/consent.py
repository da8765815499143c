"""Whether anything may be recorded: one ledger per user for all apps, and who has the last word.

`decide` is pure. The order of authority: the system's policy file, DO_NOT_TRACK, METHRICS=off, CI,
the environment the app declares, then the user's answer for this namespace, type, field and route.
Nothing said means no. Every layer but the last can only say no.

Environment variables:

    DO_NOT_TRACK   anything but empty or 0: off (consoledonottrack.com)
    METHRICS       off, 0, no or false: off. on: CI is not a reason for off (everything else is)
    CI and those in CI_VARIABLES, anything but empty, 0 or false: off (MIM-9)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

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

ROUTES = ("relay", "tor", "direct")
"""Routes a person can allow; `direct` shows an address to peers, so it is never a default."""

POLICY, DO_NOT_TRACK, SWITCH, CI, ENVIRONMENT, ANSWER, DEFAULT = (
    "policy",
    "do-not-track",
    "methrics-off",
    "ci",
    "environment",
    "answer",
    "default",
)
"""Names of the rules, as `Effective.rule` gives them."""


class Answer(NamedTuple):
    """What a person said about one event type of one namespace.

    `fields`: names that may be shared, None for every field. `routes`: how reports may travel.
    """

    on: bool
    fields: frozenset[str] | None
    routes: frozenset[str]


class Effective(NamedTuple):
    """What holds for one event type, and the rule that decided it.

    `fields` None means every field; with `on` False, `fields` and `routes` are empty.
    """

    on: bool
    rule: str
    fields: frozenset[str] | None
    routes: frozenset[str]


Answers = Mapping[str, Mapping[str, Answer]]
"""The ledger's content: namespace -> event type -> answer."""

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
    if switch != "on" and any(_set(env.get(name, "")) for name in CI_VARIABLES):
        return CI
    if environment != PRODUCTION:
        return ENVIRONMENT
    return None


def decide(
    *,
    policy_off: bool,
    env: Mapping[str, str],
    environment: str,
    answers: Answers,
    namespace: str,
    type_name: str,
) -> Effective:
    """What holds for one event type of one namespace. Pure; default off."""
    rule = forbidden(policy_off=policy_off, env=env, environment=environment)
    if rule is not None:
        return off(rule)
    answer = answers.get(namespace, {}).get(type_name)
    if answer is None:
        return off(DEFAULT)
    if not answer.on or not answer.routes:
        return off(ANSWER)
    return Effective(True, ANSWER, answer.fields, answer.routes)


def _set(value: str) -> bool:
    return value.strip().lower() not in ("", "0", "false")
