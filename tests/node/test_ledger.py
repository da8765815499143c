"""The ledger on disk: readable, never torn, never overwritten when not understood."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from methrics.node.clock import ManualClock
from methrics.node.ledger import ConsentSwitch, grant, policy_off, read_answers, withdraw
from methrics.node.paths import Places
from methrics.schema.errors import ConfigError, StoreError


def test_grant_then_withdraw(where: Places) -> None:
    grant(where, "shop", ["view", "buy"], fields=["color"], routes=["relay", "tor"], now=7)
    withdraw(where, "shop", ["buy"], now=8)
    answers = read_answers(where.ledger)["shop"]
    assert answers["view"].on
    assert answers["view"].fields == {"color"}
    assert answers["view"].routes == {"relay", "tor"}
    assert not answers["buy"].on
    withdraw(where, "shop", now=9)
    assert not any(answer.on for answer in read_answers(where.ledger)["shop"].values())
    assert os.stat(where.ledger).st_mode & 0o077 == 0
    assert json.loads(Path(where.ledger).read_text())["apps"]["shop"]["view"]["time"] == 9


@pytest.mark.parametrize("routes", [["carrier-pigeon"], []])
def test_unknown_routes_are_refused(where: Places, routes: list[str]) -> None:
    with pytest.raises(ConfigError):
        grant(where, "shop", ["view"], routes=routes, now=0)
    assert not os.path.exists(where.ledger)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"version": "1", "apps": {}}',
        b'{"version": 1}',
        b'{"version": 1, "apps": {"shop": {"view": {"on": "yes", "fields": null, "routes": []}}}}',
        b'{"version": 1, "apps": {"shop": {"view": {"on": true, "fields": "x", "routes": []}}}}',
        b'{"version": 1, "apps": {"shop": 3}}',
        b'{"version": 99, "apps": {}}',
        b"[" * 100_000,
        b'{"version": 1, "apps": {}}' + b" " * 2_000_000,
    ],
)
def test_a_ledger_that_is_not_understood_means_no_and_is_kept(
    where: Places, clock: ManualClock, content: bytes
) -> None:
    os.makedirs(where.config)
    Path(where.ledger).write_bytes(content)
    with pytest.raises(StoreError, match=r"consent\.json"):
        read_answers(where.ledger)
    with pytest.raises(StoreError):
        grant(where, "shop", ["view"], now=0)
    assert Path(where.ledger).read_bytes() == content
    assert not ConsentSwitch(where, "shop", "production", clock).effective("view").on


@pytest.mark.parametrize(
    ("content", "off"),
    [
        (None, False),
        ('{"metrics": "ask"}', False),
        ('{"metrics": "off"}', True),
        ('{"metrics": "on"}', True),
        ("{}", True),
        ("nonsense", True),
        ("[]", True),
    ],
)
def test_a_policy_that_is_not_understood_means_no(
    where: Places, content: str | None, off: bool
) -> None:
    if content is not None:
        Path(where.policy).write_text(content)
    assert policy_off(where.policy) is off


def test_a_switch_notices_files_and_environment_within_a_second(
    where: Places, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = ConsentSwitch(where, "shop", "production", clock)
    assert switch.effective("view").rule == "default"
    grant(where, "shop", ["view"], now=0)
    assert switch.effective("view").on, "an answer given in this process holds at once"
    Path(where.policy).write_text('{"metrics": "off"}')
    assert switch.effective("view").on
    clock.advance(1)
    assert switch.effective("view").rule == "policy"
    os.unlink(where.policy)
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    clock.advance(1)
    assert switch.effective("view").rule == "do-not-track"


def test_an_unwritable_folder_is_one_clear_error(where: Places) -> None:
    Path(where.config).parent.mkdir(parents=True, exist_ok=True)
    Path(where.config).write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot write"):
        grant(where, "shop", ["view"], now=0)


GRANT = """
import sys
from methrics.node.ledger import grant
from methrics.node.paths import places
where = places(sys.argv[1])
for i in range(25):
    grant(where, "shop", [f"{sys.argv[2]}{i}"], now=i)
"""


@pytest.mark.wire
def test_answers_given_by_several_processes_at_once_are_all_kept(where: Places) -> None:
    assert where.home is not None
    children = [
        subprocess.Popen([sys.executable, "-c", GRANT, where.home, name]) for name in "abcd"
    ]
    assert [child.wait(60) for child in children] == [0] * 4
    assert set(read_answers(where.ledger)["shop"]) == {f"{n}{i}" for n in "abcd" for i in range(25)}
