"""The examples send reports through a real relay into a real aggregator's DuckDB, once each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from embedded import (
    agree,
    home,
    program,
    publishing,
    receipts,
    run,
    running,
    waiting,
)
from real_network import METHRICS, RealNetwork, wait_until
from test_examples import get

from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.node.outbox.periods import DAY
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.paths import Paths

pytestmark = [pytest.mark.wire, pytest.mark.slow]

DAYS = 2 * DAY
"""Seconds by which the earlier run's clock is slow: its reports are now due, and not yet late."""


def sent(paths: Paths) -> bool:
    """Whether every report was acknowledged and the publisher has ended."""
    found = receipts(paths)
    return bool(found) and {one.state for one in found} == {ACKNOWLEDGED} and not publishing(paths)


@pytest.mark.shows("METH-1")
def test_a_command_sends_the_reports_of_the_previous_run_without_waiting(
    network: RealNetwork, tmp_path: Path
) -> None:
    paths = home(tmp_path)
    agree(paths)
    env = {"METHRICS_HOME": paths.data, "METHRICS_RELAYS": network.relay}
    run(program("short_cli.py", "search", "word", earlier=DAYS), tmp_path, **env)
    assert receipts(paths) == []
    run(program("short_cli.py", "export", "file"), tmp_path, **env)
    wait_until("send what was due", lambda: sent(paths))
    assert [row.values["name"] for row in waiting(paths)] == ["export"], "its time has not come"
    (receipt,) = receipts(paths)
    sql = "SELECT name, worked FROM examples.command WHERE name = 'search'"
    wait_until("store it", lambda: network.rows(sql) == [("search", True)])
    stored = f"SELECT count(*) FROM item WHERE hex(id) = '{receipt.id.hex().upper()}'"
    assert network.rows(stored) == [(1,)]


def test_a_pre_fork_server_s_requests_arrive_once(network: RealNetwork, tmp_path: Path) -> None:
    paths = home(tmp_path)
    agree(paths)
    env = {"METHRICS_HOME": paths.data, "METHRICS_RELAYS": network.relay}
    with running(program("prefork_server.py", "0", "3", earlier=DAYS), tmp_path, **env) as app:
        port = int(app.line().rpartition(" ")[2])
        for _ in range(30):
            get(f"http://127.0.0.1:{port}/account")
        app.stop()
    publish = [*METHRICS, "publish", "--once"]
    run(publish, tmp_path, **env)
    run(publish, tmp_path, **env)
    wait_until("send all", lambda: sent(paths))
    assert waiting(paths) == []
    sql = "SELECT sum(count)::INT FROM examples.request WHERE page = 'account' AND answer = 'ok'"
    wait_until("store all", lambda: network.rows(sql) == [(30,)])


def test_a_trio_app_publishes_in_a_task(network: RealNetwork, tmp_path: Path) -> None:
    paths = home(tmp_path)
    agree(paths)
    env = {"METHRICS_HOME": paths.data, "METHRICS_RELAYS": network.relay}
    run(program("plain_script.py", "a.png", earlier=DAYS), tmp_path, **env)
    with running(program("trio_app.py", "0.05"), tmp_path, **env) as app:
        assert app.line() == "worked"
        wait_until("send", lambda: receipts(paths) and receipts(paths)[0].state == ACKNOWLEDGED)
        app.stop()
    assert not publishing(paths)
    python = f"3.{sys.version_info[1]}"
    sql = "SELECT DISTINCT python FROM examples.heartbeat"
    wait_until("store it", lambda: network.rows(sql) == [(python,)])


def test_at_the_end_each_report_verifies_and_is_there_once(network: RealNetwork) -> None:
    network.stop()
    with open_dataset(network.file) as data:
        found = verify(data)
        assert found.mismatches == []
        assert found.reports > 4
        rows = data.rows("SELECT count(*), count(DISTINCT id) FROM item")
    assert rows[0][0] == rows[0][1]
