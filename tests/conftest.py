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


LONGEST = (
    "tests/house/test_blocks.py",
    "tests/soak/test_soak.py",
    "tests/node/mine/test_linkage.py",
    "tests/node/spool/test_spool_processes.py",
    "tests/attacks/test_attack_gossip.py",
    "tests/wire/test_aggregate_process.py",
    "tests/notebooks/test_notebooks.py",
    "tests/wire/test_demo.py",
    "tests/lab/test_lab.py",
    "tests/benchmarks/test_benchmarks_run.py",
    "tests/wire/interop/test_interop_mesh.py",
)
"""The files that take longest run first, so that no worker is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


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
