"""The ledger on disk: readable, written whole, never overwritten if it cannot be read."""

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
from methrics.node.paths import Paths
from methrics.node.process import exits
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, StoreError


def test_grant_then_withdraw(paths: Paths) -> None:
    grant(paths, "shop", ["view", "buy"], fields=["color"], routes=["relay", "direct"], now=7)
    withdraw(paths, "shop", ["buy"], now=8)
    answers = read_answers(paths.ledger)["shop"]
    assert answers["view"].on
    assert answers["view"].fields == {"color"}
    assert answers["view"].routes == {"relay", "direct"}
    assert not answers["buy"].on
    withdraw(paths, "shop", now=9)
    assert not any(answer.on for answer in read_answers(paths.ledger)["shop"].values())
    assert os.stat(paths.ledger).st_mode & 0o077 == 0
    entry = json.loads(Path(paths.ledger).read_text())["apps"]["shop"]["view"]
    assert (entry["answer"], entry["time"]) == ("no", "1970-01-01T00:00:09Z")


def test_a_byte_order_mark_is_no_damage(paths: Paths) -> None:
    grant(paths, "shop", ["view"], now=7)
    text = Path(paths.ledger).read_text("utf-8")
    Path(paths.ledger).write_text(text, "utf-8-sig")
    Path(paths.policy).write_text('{"metrics": "ask"}', "utf-8-sig")
    assert read_answers(paths.ledger)["shop"]["view"].on
    assert not policy_off(paths.policy)


def test_a_pipe_in_place_of_a_file_turns_everything_off_at_once(paths: Paths) -> None:
    os.makedirs(paths.config)
    os.mkfifo(paths.ledger)
    os.mkfifo(paths.policy)
    with pytest.raises(StoreError, match="not a regular file") as raised:
        read_answers(paths.ledger)
    assert raised.value.code == "ledger-unread"
    assert policy_off(paths.policy)


@pytest.mark.parametrize("routes", [["carrier-pigeon"], ["tor"], ["relay", "tor"], []])
def test_unknown_routes_are_refused(paths: Paths, routes: list[str]) -> None:
    with pytest.raises(ConfigError, match="no such route") as caught:
        grant(paths, "shop", ["view"], routes=routes, now=0)
    assert caught.value.code == "unknown-route"
    assert caught.value.hint == "one of relay, direct"
    assert not os.path.exists(paths.ledger)


@pytest.mark.parametrize(
    ("routes", "left"), [(["relay", "tor"], {"relay"}), (["tor"], set()), (["direct"], {"direct"})]
)
def test_a_route_that_older_ledgers_name_and_that_does_not_exist_is_ignored(
    paths: Paths, routes: list[str], left: set[str]
) -> None:
    grant(paths, "shop", ["view"], now=0)
    document = json.loads(Path(paths.ledger).read_text())
    document["apps"]["shop"]["view"]["routes"] = routes
    Path(paths.ledger).write_text(json.dumps(document))
    answers = read_answers(paths.ledger)
    assert answers["shop"]["view"].routes == left
    assert by_answer(answers, "shop", "view").on == bool(left), "record must not say True in vain"
    withdraw(paths, "shop", ["buy"], now=1)
    assert read_answers(paths.ledger)["shop"]["view"].routes == left


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
    paths: Paths, clock: ManualClock, content: bytes
) -> None:
    os.makedirs(paths.config)
    path = Path(paths.ledger)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"consent\.json"):
        read_ledger(paths.ledger)
    switch = ConsentSwitch(paths, "shop", "production", clock)
    assert not switch.effective("view").on
    assert path.read_bytes() == content, "looking changes nothing"
    aside = grant(paths, "shop", ["view"], now=0)
    assert aside is not None
    assert Path(aside).read_bytes() == content, "moved aside, whole"
    assert switch.effective("view").on
    path.write_bytes(content)
    again = withdraw(paths, "shop", ["view"], now=0)
    assert again not in (None, aside), "two damaged ledgers do not overwrite each other"
    assert not switch.effective("view").on


def test_a_damaged_ledger_logs_one_line(
    paths: Paths,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(exits._state, "warned", False)
    os.makedirs(paths.config)
    Path(paths.ledger).write_bytes(b"{")
    switch = ConsentSwitch(paths, "shop", "production", clock)
    for _ in range(5):
        clock.advance(2)
        assert not switch.effective("view").on
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert paths.ledger in caplog.text


def test_a_ledger_of_a_later_version_means_no_and_is_not_replaced(
    paths: Paths, clock: ManualClock
) -> None:
    os.makedirs(paths.config)
    content = b'{"version": 99, "apps": {}}'
    Path(paths.ledger).write_bytes(content)
    for work in (grant, withdraw):
        with pytest.raises(StoreError, match="newer"):
            work(paths, "shop", ["view"], now=0)
    assert Path(paths.ledger).read_bytes() == content
    assert sorted(os.listdir(paths.config)) == ["consent.json", "consent.json.lock"]
    assert not ConsentSwitch(paths, "shop", "production", clock).effective("view").on


def test_a_ledger_that_may_not_be_read_is_not_moved(paths: Paths, clock: ManualClock) -> None:
    os.makedirs(paths.ledger)  # as unreadable as a file without permission, for root as well
    with pytest.raises(StoreError) as error:
        grant(paths, "shop", ["view"], now=0)
    assert error.value.code == "ledger-unread"
    assert os.path.isdir(paths.ledger)
    assert not ConsentSwitch(paths, "shop", "production", clock).effective("view").on


def test_a_ledger_that_is_a_link_stays_one(paths: Paths, tmp_path: Path) -> None:
    os.makedirs(paths.config)
    kept = tmp_path / "dotfiles.json"
    os.symlink(kept, paths.ledger)
    grant(paths, "shop", ["view"], now=0)
    assert os.path.islink(paths.ledger)
    assert "shop" in json.loads(kept.read_text())["apps"]


def test_the_history_says_who_what_when_and_through_what(paths: Paths, shop: Catalog) -> None:
    grant(paths, "shop", ["view"], fields=["color"], now=7, catalog=shop, through="terminal")
    withdraw(paths, "shop", ["view"], now=8, through="command")
    first, second = read_ledger(paths.ledger).history
    assert first["time"] == "1970-01-01T00:00:07Z"
    assert first["who"]
    assert (first["through"], first["app"], first["type"]) == ("terminal", "shop", "view")
    assert (first["answer"], first["fields"], first["routes"]) == ("yes", ["color"], ["relay"])
    assert (first["catalog"], first["question"]) == (1, fingerprint(shop.types["view"])[0])
    assert (second["through"], second["answer"], second["fields"]) == ("command", "no", [])


def test_a_yes_keeps_the_question_as_it_was_shown(paths: Paths, shop: Catalog) -> None:
    grant(paths, "shop", ["view", "click"], now=7, catalog=shop)
    answers = read_answers(paths.ledger)["shop"]
    for name in ("view", "click"):
        assert answers[name].shown == shop.types[name].to_wire()
        assert answers[name].catalog == 1
        assert answers[name].fields == {"color", "size", "version"}, "all that were shown, by name"
    withdraw(paths, "shop", now=8)
    assert json.loads(Path(paths.ledger).read_text())["questions"] == {}, "what no yes needs goes"


def test_no_to_an_app_or_to_every_app_covers_later_ones(paths: Paths, clock: ManualClock) -> None:
    grant(paths, "shop", ["view"], now=0)
    withdraw(paths, "shop", now=1)
    switch = ConsentSwitch(paths, "shop", "production", clock)
    for name in ("view", "new"):
        assert switch.effective(name).rule == "answer"
        assert not switch.effective(name).on
    grant(paths, "shop", ["new"], now=2)
    assert switch.effective("new").on, "a later yes to one type is a yes"
    withdraw(paths, EVERY, now=3)
    assert not switch.effective("new").on
    assert not ConsentSwitch(paths, "other", "production", clock).effective("view").on
    assert ConsentSwitch(paths, "other", "production", clock).effective("view").rule == "answer"


def test_not_now_leaves_an_older_yes_alone_and_replaces_no(paths: Paths) -> None:
    grant(paths, "shop", ["view"], now=1)
    withdraw(paths, "shop", ["click"], now=1)
    edits = [Edit("shop", name, "not-now") for name in ("view", "click", "visit")]
    write(paths, edits, now=2, through="test")
    answers = read_answers(paths.ledger)["shop"]
    assert {name: answer.said for name, answer in answers.items()} == {
        "view": "yes",
        "click": "not-now",
        "visit": "not-now",
    }
    assert {answer.later for answer in answers.values()} == {"1970-01-01T00:00:02Z"}


def test_a_long_history_loses_its_oldest_changes_first(paths: Paths) -> None:
    edits = [Edit("shop", f"t{n}", "no") for n in range(HISTORY_MAX)]
    write(paths, edits, now=0, through="test")
    withdraw(paths, "shop", ["last"], now=1)
    history = read_ledger(paths.ledger).history
    assert len(history) == HISTORY_MAX
    assert history[0]["type"] == "t1"
    assert history[-1]["type"] == "last"


def test_a_ledger_never_grows_beyond_what_is_read(paths: Paths) -> None:
    long = "x" * 900
    write(paths, [Edit("shop", f"{long}{n}", "no") for n in range(450)], now=0, through="test")
    for n in range(5):
        write(paths, [Edit("shop", f"{long}{n}", "no")] * 300, now=n, through="test")
    assert os.path.getsize(paths.ledger) <= FILE_MAX
    assert len(read_answers(paths.ledger)["shop"]) == 450, "the history goes, answers stay"
    with pytest.raises(StoreError) as error:
        write(paths, [Edit("shop", f"{long}y{n}", "no") for n in range(999)], now=9, through="test")
    assert error.value.code == "ledger-full"
    assert len(read_answers(paths.ledger)["shop"]) == 450


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
    paths: Paths, content: str | None, off: bool
) -> None:
    if content is not None:
        Path(paths.policy).write_text(content)
    assert policy_off(paths.policy) is off


@pytest.mark.shows("DEB-5")
def test_a_switch_notices_files_and_environment_within_a_second(
    paths: Paths, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = ConsentSwitch(paths, "shop", "production", clock)
    assert switch.effective("view").rule == "default"
    grant(paths, "shop", ["view"], now=0)
    assert switch.effective("view").on, "an answer given in this process holds at once"
    Path(paths.policy).write_text('{"metrics": "off"}')
    assert switch.effective("view").on
    clock.advance(1)
    assert switch.effective("view").rule == "policy"
    os.unlink(paths.policy)
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    clock.advance(1)
    assert switch.effective("view").rule == "do-not-track"


def test_an_unwritable_folder_is_one_clear_error(paths: Paths) -> None:
    Path(paths.config).parent.mkdir(parents=True, exist_ok=True)
    Path(paths.config).write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot write"):
        grant(paths, "shop", ["view"], now=0)


GRANT = """
import sys
from methrics.node.consent.ledger import grant
from methrics.node.paths import user_paths
paths = user_paths(sys.argv[1])
for i in range(25):
    grant(paths, "shop", [f"{sys.argv[2]}{i}"], now=i)
"""


@pytest.mark.wire
def test_answers_given_by_several_processes_at_once_are_all_kept(paths: Paths) -> None:
    assert paths.home is not None
    children = [
        subprocess.Popen([sys.executable, "-c", GRANT, paths.home, name]) for name in "abcd"
    ]
    assert [child.wait(60) for child in children] == [0] * 4
    assert set(read_answers(paths.ledger)["shop"]) == {f"{n}{i}" for n in "abcd" for i in range(25)}
    assert len(read_ledger(paths.ledger).history) == 100


MIXED = """
import sys
from methrics.node.consent.ledger import grant, withdraw
from methrics.node.paths import user_paths
paths, app = user_paths(sys.argv[1]), sys.argv[2]
for i in range(20):
    grant(paths, app, [f"t{i}"], fields=["a"], now=i)
    if i % 2:
        withdraw(paths, app, [f"t{i - 1}"], now=i)
"""


@pytest.mark.wire
def test_two_apps_that_say_yes_and_no_at_once_keep_every_answer(paths: Paths) -> None:
    assert paths.home is not None
    apps = ("shop", "bank")
    children = [subprocess.Popen([sys.executable, "-c", MIXED, paths.home, app]) for app in apps]
    assert [child.wait(60) for child in children] == [0, 0]
    ledger = read_ledger(paths.ledger)
    for app in apps:
        said = {name: answer.on for name, answer in ledger.answers[app].items()}
        assert said == {f"t{i}": bool(i % 2) for i in range(20)}
        mine = [entry for entry in ledger.history if entry["app"] == app]
        assert len(mine) == 30, "each change stands in the history, once"


@pytest.mark.parametrize("forbidden_here", [False, True])
def test_threads_that_refresh_at_once_each_use_a_whole_state(
    paths: Paths, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, forbidden_here: bool
) -> None:
    grant(paths, "shop", ["view"], now=0)
    if forbidden_here:
        Path(paths.policy).write_text('{"metrics": "off"}')
    looking, go_on = threading.Event(), threading.Event()
    one = ConsentSwitch(paths, "shop", "production", clock)
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
