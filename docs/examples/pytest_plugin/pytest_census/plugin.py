"""The hooks. Everything happens once, after the last test, and nothing of it can fail a run.

Build services and people who did not agree are told apart by methrics itself: off is its default,
and off means no file, no id, no socket.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from pytest_census import CATALOG

if TYPE_CHECKING:
    import methrics.node


def open_recorder() -> methrics.node.Recorder:
    """Imported when first needed: a run that ends in a usage error does not pay for it."""
    import methrics.node

    return methrics.node.open(CATALOG, app_version=version("pytest-census"))


def pytest_report_header(config: pytest.Config) -> str | None:
    """With -v, one line that says whether anything is shared, and how to change that."""
    if config.get_verbosity() < 1:
        return None
    with open_recorder() as recorder:
        rule = recorder.statistics().rule
    return f"census: decided by {rule} (methrics consent show; {CATALOG})"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """One state per run; the node sends the latest one at most once a day."""
    if hasattr(session.config, "workerinput"):
        return  # a worker of pytest-xdist: its controller says it for all
    with open_recorder() as recorder:
        recorder.record("setup", pytest=pytest.__version__, **recorder.facts("setup"))
