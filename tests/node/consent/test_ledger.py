"""The ledger on disk: readable, never torn, never overwritten when not understood."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from methrics.node.clock import ManualClock
from methrics.node.consent.answer import EVERY, Effective
from methrics.node.consent.decide import by_answer
from methrics.node.consent.ledger import (
    grant,
    policy_off,
    read_answers,
    read_ledger,
    withdraw,
    write,
)
from methrics.node.consent.ledger_file import FILE_MAX
from methrics.node.consent.ledger_format import HISTORY_MAX, Edit, fingerprint
from methrics.node.consent.switch import ConsentSwitch
from methrics.node.paths import Places
from methrics.node.process import exits
from methrics.schema.catalog.catalog import Catalog
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
    entry = json.loads(Path(where.ledger).read_text())["apps"]["shop"]["view"]
    assert (entry["answer"], entry["time"]) == ("no", "1970-01-01T00:00:09Z")


@pytest.mark.parametrize("routes", [["carrier-pigeon"], []])
def test_unknown_routes_are_refused(where: Places, routes: list[str]) -> None:
    with pytest.raises(ConfigError):
        grant(where, "shop", ["view"], routes=routes, now=0)
    assert not os.path.exists(where.ledger)


YES = b'{"answer": "yes", "fields": ["color"], "routes": ["relay"]'
DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"\xff\xfe",
    b'{"version": "1", "apps": {}}',
    b'{"version": 1}',
    b'{"version": 1, "apps": {"shop": {"view": {"answer": true, "fields": null, "routes": []}}}}',
    b'{"version": 1, "apps": {"shop": {"view": {"answer": "yes", "fields": "x", "routes": []}}}}',
    b'{"version": 1, "apps": {"shop": {"view": ' + YES + b', "question": "gone"}}}}',
    b'{"version": 1, "apps": {"shop": {"view": ' + YES + b', "question": 7}}}}',
    b'{"version": 1, "apps": {"shop": {"view": ' + YES + b', "catalog": "1"}}}}',
    b'{"version": 1, "apps": {}, "history": {}}',
    b'{"version": 1, "apps": {}, "questions": []}',
    b'{"version": 1, "apps": {"shop": 3}}',
    b"[" * 100_000,
    b'{"version": 1, "apps": {}}' + b" " * 2_000_000,
]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_ledger_means_no_and_is_kept_until_somebody_answers_again(
    where: Places, clock: ManualClock, content: bytes
) -> None:
    os.makedirs(where.config)
    path = Path(where.ledger)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"consent\.json"):
        read_ledger(where.ledger)
    switch = ConsentSwitch(where, "shop", "production", clock)
    assert not switch.effective("view").on
    assert path.read_bytes() == content, "looking changes nothing"
    aside = grant(where, "shop", ["view"], now=0)
    assert aside is not None
    assert Path(aside).read_bytes() == content, "moved aside, whole"
    assert switch.effective("view").on
    path.write_bytes(content)
    again = withdraw(where, "shop", ["view"], now=0)
    assert again not in (None, aside), "two damaged ledgers do not overwrite each other"
    assert not switch.effective("view").on


def test_a_damaged_ledger_is_said_in_one_line(
    where: Places,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(exits._state, "said", False)
    os.makedirs(where.config)
    Path(where.ledger).write_bytes(b"{")
    switch = ConsentSwitch(where, "shop", "production", clock)
    for _ in range(5):
        clock.advance(2)
        assert not switch.effective("view").on
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert where.ledger in caplog.text


def test_a_ledger_of_a_later_version_means_no_and_is_never_replaced(
    where: Places, clock: ManualClock
) -> None:
    os.makedirs(where.config)
    content = b'{"version": 99, "apps": {}}'
    Path(where.ledger).write_bytes(content)
    for work in (grant, withdraw):
        with pytest.raises(StoreError, match="newer"):
            work(where, "shop", ["view"], now=0)
    assert Path(where.ledger).read_bytes() == content
    assert sorted(os.listdir(where.config)) == ["consent.json", "consent.json.lock"]
    assert not ConsentSwitch(where, "shop", "production", clock).effective("view").on


def test_a_ledger_that_may_not_be_read_is_not_moved(where: Places, clock: ManualClock) -> None:
    os.makedirs(where.ledger)  # as unreadable as a file without permission, for root as well
    with pytest.raises(StoreError) as error:
        grant(where, "shop", ["view"], now=0)
    assert error.value.code == "ledger-unread"
    assert os.path.isdir(where.ledger)
    assert not ConsentSwitch(where, "shop", "production", clock).effective("view").on


def test_a_ledger_that_is_a_link_stays_one(where: Places, tmp_path: Path) -> None:
    os.makedirs(where.config)
    kept = tmp_path / "dotfiles.json"
    os.symlink(kept, where.ledger)
    grant(where, "shop", ["view"], now=0)
    assert os.path.islink(where.ledger)
    assert "shop" in json.loads(kept.read_text())["apps"]


def test_the_history_says_who_what_when_and_through_what(where: Places, shop: Catalog) -> None:
    grant(where, "shop", ["view"], fields=["color"], now=7, catalog=shop, through="terminal")
    withdraw(where, "shop", ["view"], now=8, through="command")
    first, second = read_ledger(where.ledger).history
    assert first["time"] == "1970-01-01T00:00:07Z"
    assert first["who"]
    assert (first["through"], first["app"], first["type"]) == ("terminal", "shop", "view")
    assert (first["answer"], first["fields"], first["routes"]) == ("yes", ["color"], ["relay"])
    assert (first["catalog"], first["question"]) == (1, fingerprint(shop.types["view"])[0])
    assert (second["through"], second["answer"], second["fields"]) == ("command", "no", [])


def test_a_yes_keeps_the_question_as_it_was_shown(where: Places, shop: Catalog) -> None:
    grant(where, "shop", ["view", "click"], now=7, catalog=shop)
    answers = read_answers(where.ledger)["shop"]
    for name in ("view", "click"):
        assert answers[name].shown == shop.types[name].to_wire()
        assert answers[name].catalog == 1
        assert answers[name].fields == {"color", "size", "version"}, "all that were shown, by name"
    withdraw(where, "shop", now=8)
    assert json.loads(Path(where.ledger).read_text())["questions"] == {}, "what no yes needs goes"


def test_no_to_an_app_and_to_every_app_covers_what_is_to_come(
    where: Places, clock: ManualClock
) -> None:
    grant(where, "shop", ["view"], now=0)
    withdraw(where, "shop", now=1)
    switch = ConsentSwitch(where, "shop", "production", clock)
    for name in ("view", "new"):
        assert switch.effective(name).rule == "answer"
        assert not switch.effective(name).on
    grant(where, "shop", ["new"], now=2)
    assert switch.effective("new").on, "a later yes to one type is a yes"
    withdraw(where, EVERY, now=3)
    assert not switch.effective("new").on
    assert not ConsentSwitch(where, "other", "production", clock).effective("view").on
    assert ConsentSwitch(where, "other", "production", clock).effective("view").rule == "answer"


def test_not_now_leaves_an_older_yes_alone_and_replaces_no(where: Places) -> None:
    grant(where, "shop", ["view"], now=1)
    withdraw(where, "shop", ["click"], now=1)
    edits = [Edit("shop", name, "not-now") for name in ("view", "click", "visit")]
    write(where, edits, now=2, through="test")
    answers = read_answers(where.ledger)["shop"]
    assert {name: answer.said for name, answer in answers.items()} == {
        "view": "yes",
        "click": "not-now",
        "visit": "not-now",
    }
    assert {answer.later for answer in answers.values()} == {"1970-01-01T00:00:02Z"}


def test_a_long_history_loses_its_oldest_changes_first(where: Places) -> None:
    edits = [Edit("shop", f"t{n}", "no") for n in range(HISTORY_MAX)]
    write(where, edits, now=0, through="test")
    withdraw(where, "shop", ["last"], now=1)
    history = read_ledger(where.ledger).history
    assert len(history) == HISTORY_MAX
    assert history[0]["type"] == "t1"
    assert history[-1]["type"] == "last"


def test_a_ledger_never_grows_beyond_what_is_read(where: Places) -> None:
    long = "x" * 900
    write(where, [Edit("shop", f"{long}{n}", "no") for n in range(450)], now=0, through="test")
    for n in range(5):
        write(where, [Edit("shop", f"{long}{n}", "no")] * 300, now=n, through="test")
    assert os.path.getsize(where.ledger) <= FILE_MAX
    assert len(read_answers(where.ledger)["shop"]) == 450, "the history goes, answers stay"
    with pytest.raises(StoreError) as error:
        write(where, [Edit("shop", f"{long}y{n}", "no") for n in range(999)], now=9, through="test")
    assert error.value.code == "ledger-full"
    assert len(read_answers(where.ledger)["shop"]) == 450


@pytest.mark.shows("DEB-5")
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


@pytest.mark.shows("DEB-5")
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
from methrics.node.consent.ledger import grant
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
    assert len(read_ledger(where.ledger).history) == 100


MIXED = """
import sys
from methrics.node.consent.ledger import grant, withdraw
from methrics.node.paths import places
where, app = places(sys.argv[1]), sys.argv[2]
for i in range(20):
    grant(where, app, [f"t{i}"], fields=["a"], now=i)
    if i % 2:
        withdraw(where, app, [f"t{i - 1}"], now=i)
"""


@pytest.mark.wire
def test_two_apps_that_say_yes_and_no_at_once_keep_every_answer(where: Places) -> None:
    assert where.home is not None
    apps = ("shop", "bank")
    children = [subprocess.Popen([sys.executable, "-c", MIXED, where.home, app]) for app in apps]
    assert [child.wait(60) for child in children] == [0, 0]
    ledger = read_ledger(where.ledger)
    for app in apps:
        said = {name: answer.on for name, answer in ledger.answers[app].items()}
        assert said == {f"t{i}": bool(i % 2) for i in range(20)}
        mine = [entry for entry in ledger.history if entry["app"] == app]
        assert len(mine) == 30, "each change stands in the history, once"


@pytest.mark.parametrize("forbidden_here", [False, True])
def test_a_look_is_whole_though_another_thread_has_begun_one(
    where: Places, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, forbidden_here: bool
) -> None:
    grant(where, "shop", ["view"], now=0)
    if forbidden_here:
        Path(where.policy).write_text('{"metrics": "off"}')
    looking, go_on = threading.Event(), threading.Event()
    one = ConsentSwitch(where, "shop", "production", clock)
    other = threading.Thread(target=one.refresh)

    def slow_policy(path: str) -> bool:
        if threading.current_thread() is other:
            looking.set()
            assert go_on.wait(60)
        return policy_off(path)

    def decide(*question: object) -> Effective:
        if other.ident is None and threading.current_thread() is not other:
            other.start()
            assert looking.wait(60)
        return by_answer(*question)  # type: ignore[arg-type]

    monkeypatch.setattr("methrics.node.consent.ledger.policy_off", slow_policy)
    monkeypatch.setattr("methrics.node.consent.switch.by_answer", decide)
    try:
        assert one.effective("view").on is not forbidden_here
        assert (one.rule is not None) is forbidden_here
    finally:
        go_on.set()
        other.join()
    assert one.effective("view").on is not forbidden_here
