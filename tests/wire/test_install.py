"""`pip install 'methrics[node]'` works without a C compiler, and what it installs publishes."""

from __future__ import annotations

from pathlib import Path

import pytest
from embedded import CATALOG, agree, home, program, receipts, run
from real_network import RealNetwork, wait_until
from tests import fresh

from methrics.node.outbox.periods import DAY
from methrics.node.outbox.rows import ACKNOWLEDGED

pytestmark = [pytest.mark.wire, pytest.mark.slow]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with `methrics[node]` from the wheel, made without a compiler."""
    folder = tmp_path_factory.mktemp("install")
    wheel = fresh.build_wheel(folder)
    fresh.install(folder / "venv", f"{wheel}[node]")
    return folder / "venv"


def test_what_is_installed_is_complete(venv: Path) -> None:
    env = fresh.without_compiler(str(venv / "bin"))
    assert fresh.finish(["pip", "check"], env, venv).strip() == "No broken requirements found."
    names = fresh.finish(["pip", "list", "--format=freeze"], env, venv)
    installed = {line.partition("==")[0].lower() for line in names.splitlines()}
    assert not installed & {"fastecdsa", "libp2p", "duckdb"}


def test_it_publishes_through_a_relay(
    venv: Path, network: RealNetwork, tmp_path: Path, nobody: Path
) -> None:
    paths = home(tmp_path)
    agree(paths)
    python = str(venv / "bin" / "python")
    env = {"METHRICS_HOME": paths.data, "METHRICS_RELAYS": network.relay}
    _, *record = program("short_cli.py", "search", "word", earlier=2 * DAY)
    run([python, *record], tmp_path, **env)
    run([str(venv / "bin" / "methrics"), "publish", "--once"], tmp_path, **env)
    wait_until("send", lambda: receipts(paths) and receipts(paths)[0].state == ACKNOWLEDGED)
    sql = f"SELECT name, worked FROM {CATALOG.label}.command WHERE name = 'search'"
    wait_until("store it", lambda: network.rows(sql) == [("search", True)])
