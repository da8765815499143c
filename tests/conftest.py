"""Fixtures of all tests: a new user without settings, on a machine that is not CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("methrics", deadline=None, print_blob=True)
settings.load_profile("methrics")

CI_MARKS = (
    "CI",
    "CONTINUOUS_INTEGRATION",
    "BUILD_NUMBER",
    "RUN_ID",
    "APPVEYOR",
    "BITBUCKET_BUILD_NUMBER",
    "BUILDKITE",
    "CIRCLECI",
    "CIRRUS_CI",
    "CODEBUILD_BUILD_ID",
    "DRONE",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "JENKINS_URL",
    "TEAMCITY_VERSION",
    "TF_BUILD",
    "TRAVIS",
)
"""Variables that CI systems set."""


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without consent, opt-out or CI; returns the user's home folder, not made yet.

    The tests also run in CI, where CI=true would turn methrics off.
    """
    for name in list(os.environ):
        if name in CI_MARKS or name == "DO_NOT_TRACK" or name.startswith("METHRICS"):
            monkeypatch.delenv(name)
    home = tmp_path / "methrics-home"
    monkeypatch.setenv("METHRICS_HOME", str(home))
    return home
