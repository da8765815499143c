"""The hooks. They run once, after the last test, and cannot make a run fail.

Methrics itself records nothing in CI or without consent: off is the default, and off means no file,
no id and no socket.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from pytest_census import CATALOG

if TYPE_CHECKING:
    import methrics.node


def open_recorder() -> methrics.node.Recorder:
    """Imported when first needed, so a run that ends with a usage error does not wait for it."""
    import methrics.node

    return methrics.node.open(CATALOG, app_version=version("pytest-census"))


def pytest_report_header(config: pytest.Config) -> str | None:
    """With -v, one line that shows whether reports are on, and how to change that."""
    if config.get_verbosity() < 1:
        return None
    with open_recorder() as recorder:
        rule = recorder.statistics().rule
    return f"census: decided by {rule} (methrics consent show; {CATALOG})"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Records one state per run; the node sends the latest at most once a day."""
    if hasattr(session.config, "workerinput"):
        return  # a worker of pytest-xdist; the controller records for all workers
    with open_recorder() as recorder:
        recorder.record("setup", pytest=pytest.__version__, **recorder.facts("setup"))
