"""Asking: the same texts on every surface, real example reports, answers written once."""

from __future__ import annotations

import io
import json
import logging
import os
import shlex
import socket
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.listing import listed_book

import methrics.node
from methrics.node.clock import ManualClock
from methrics.node.consent import terminal
from methrics.node.consent.asking import Asking
from methrics.node.consent.example import example
from methrics.node.consent.ledger import read_answers, read_ledger
from methrics.node.consent.questions import Uses
from methrics.node.consent.way_back import way_back
from methrics.node.paths import Paths
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, StoreError
from methrics.schema.example import example_catalog, example_seed
from methrics.schema.judging.judge import Accepted, judge

if TYPE_CHECKING:
    from conftest import Shop

NOW = 1_800_000_123
ENOUGH = Uses(3, 300)


@pytest.fixture
def asking(shop: Catalog, paths: Paths, clock: ManualClock) -> Asking:
    return Asking([shop], paths, clock=clock, app_version="4.5.6")


@pytest.mark.shows("METH-19")
@pytest.mark.parametrize("name", list(example_catalog().types))
def test_the_example_is_a_report_that_every_node_takes(name: str) -> None:
    catalog = example_catalog()
    shown = example(catalog, catalog.types[name], now=NOW, seed=bytes(32), app_version="1.4.2")
    assert shown is not None
    verdict = judge(shown.raw, listed_book(catalog, seed=example_seed()), NOW)
    assert isinstance(verdict, Accepted), verdict.reason
    assert verdict.body == shown.report
    assert shown.report.time % 600 == 0
    assert shown.made_up <= {*shown.report.values, "sequence"}
    if catalog.types[name].field("version"):
        assert shown.report.values["version"] == "1.4"
        assert "version" not in shown.made_up


def test_the_example_holds_this_machine_and_what_the_app_would_record() -> None:
    catalog = example_catalog()
    values = {"version": "2.1", "screen": 1500, "language": "fr"}
    shown = example(catalog, catalog.types["client"], now=NOW, seed=bytes(32), values=values)
    assert shown is not None
    assert shown.report.values["version"] == "2.1"
    assert shown.report.values["screen"] == 2
    assert "version" not in shown.made_up
    assert "browser" in shown.made_up
    system = example(catalog, catalog.types["system"], now=NOW, seed=bytes(32))
    assert system is not None
    assert system.report.values["arch"] == {"amd64": "x86_64"}.get(
        os.uname().machine, os.uname().machine
    )


@given(st.sets(st.sampled_from([field.name for field in example_catalog().types["system"].fields])))
def test_the_example_keeps_to_the_fields_agreed_to(fields: set[str]) -> None:
    catalog = example_catalog()
    entry = catalog.types["system"]
    shown = example(catalog, entry, now=NOW, seed=bytes(32), fields=fields)
    assert (shown is None) == (not fields), "a report that says nothing is none"
    if shown is not None:
        assert set(shown.report.values) == fields


def test_two_examples_of_one_person_share_no_key(asking: Asking) -> None:
    other = Asking(asking.catalogs, asking.paths)
    question = asking.questions()[0]
    one, two = asking.sheet(question).raw, other.sheet(question).raw
    assert one[12:44] != two[12:44]


@pytest.mark.shows("METH-19")
def test_a_sheet_says_everything(asking: Asking) -> None:
    for question in asking.questions():
        entry, sheet = question.event_type, asking.sheet(question)
        text = json.dumps([sheet.asks, sheet.facts, [field.says for field in sheet.fields]])
        for part in (entry.question, entry.why, entry.owner, entry.review, "30 days"):
            assert part in text
        assert question.catalog.results in text
        assert question.catalog.topic in text
        assert question.catalog.contact in text
        assert {field.name for field in sheet.fields} == {field.name for field in entry.fields}
        assert f'"type": "{entry.name}"' in sheet.report
        assert str(len(sheet.raw)) in sheet.note


def test_stand_ins_are_not_presented_as_values_of_this_machine(asking: Asking) -> None:
    for question in asking.questions(everything=True):
        shown = asking.sheet(question)
        made_up = {field.name for field in shown.fields if field.made_up}
        real = {field.name for field in shown.fields if not field.made_up and field.example}
        assert ("of this machine" in shown.note) == bool(real), shown.title
        assert ("The other values" in shown.note) == bool(real and made_up), shown.title


def test_looking_and_asking_write_nothing(asking: Asking, paths: Paths) -> None:
    for question in asking.questions(ENOUGH):
        asking.sheet(question)
    assert asking.status_line()
    assert not os.path.exists(paths.config)
    assert not os.path.exists(paths.data)


def test_answers_are_kept_with_what_was_shown(asking: Asking, app: Shop, shop: Catalog) -> None:
    asking.answer("view", "yes", fields=["color"])
    asking.answer("visit", "no")
    asking.answer("click", "not-now")
    answers = read_answers(app.paths.ledger)[app.namespace]
    assert {name: one.said for name, one in answers.items()} == {
        "view": "yes",
        "visit": "no",
        "click": "not-now",
    }
    assert answers["view"].shown == shop.types["view"].to_wire()
    app.clock.advance(2)
    assert app.recorder.record("view", color="red", size=4)
    assert not app.recorder.record("visit", color="red")
    assert [one.event_type.name for one in asking.questions()] == ["buy", "click"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("ghost", "yes", {}), "unknown-type"),
        (("view", "maybe", {}), "unknown-answer"),
        (("view", "yes", {"fields": ["shoe"]}), "unknown-field"),
        (("view", "yes", {"routes": ["pigeon"]}), "unknown-route"),
        (("view", "yes", {"routes": []}), "unknown-route"),
        (("view", "yes", {"namespace": "another"}), "unknown-type"),
    ],
)
def test_a_wrong_answer_writes_nothing(
    asking: Asking, paths: Paths, arguments: tuple[str, str, dict[str, Any]], code: str
) -> None:
    name, said, more = arguments
    with pytest.raises(ConfigError) as error:
        asking.answer(name, said, **more)
    assert error.value.code == code
    assert not os.path.exists(paths.ledger)


def test_a_no_forgets_what_was_recorded(asking: Asking, app: Shop) -> None:
    asking.answer("view", "yes")
    app.clock.advance(2)
    assert app.recorder.record("view", color="red")
    assert app.journal.pending(1 << 40).rows
    asking.answer("view", "no")
    assert app.journal.pending(1 << 40).rows == []


def test_a_field_that_is_switched_off_takes_its_recorded_values_along(
    asking: Asking, app: Shop
) -> None:
    asking.answer("view", "yes")
    asking.answer("click", "yes")
    app.clock.advance(2)
    assert app.recorder.record("view", color="red")
    assert app.recorder.count("click", color="red")
    asking.answer("click", "yes", fields=["color", "size", "version"])
    assert len(app.journal.pending(1 << 40).rows) == 2, "the same answer again changes nothing"
    asking.answer("view", "yes", fields=["size"])
    asking.answer("view", "yes", fields=["color", "size"])
    assert [row.type for row in app.journal.pending(1 << 40).rows] == ["click"]


def test_a_no_is_stored_while_another_program_locks_the_outbox(asking: Asking, app: Shop) -> None:
    asking.answer("view", "yes")
    asking.answer("click", "yes")
    app.clock.advance(2)
    assert app.recorder.record("view", color="red")
    assert app.journal.pending(1 << 40).rows
    blocker = sqlite3.connect(app.journal.database.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    mine = app.recorder.mine()
    for refuse in (
        lambda: asking.answer("view", "no"),
        lambda: mine.withdraw("click"),
        mine.withdraw,
        asking.refuse_all,
    ):
        with pytest.raises(StoreError, match="your answer is stored") as caught:
            refuse()
        assert caught.value.code == "outbox-busy"
    blocker.close()
    assert read_answers(app.paths.ledger)[app.namespace]["view"].said == "no"
    asking.answer("view", "no")
    assert app.journal.pending(1 << 40).rows == []


def test_no_to_every_app_is_final_for_later_apps(asking: Asking, app: Shop) -> None:
    asking.answer("view", "yes")
    asking.refuse_all()
    assert not any(app.recorder.record(name) for name in app.catalog.types)
    later = Asking([example_catalog()], app.paths, clock=app.clock)
    assert later.questions() == []
    assert later.status_line() is None


def test_a_no_to_everything_deletes_what_waits_of_other_apps(app: Shop) -> None:
    app.allow()
    assert app.recorder.record("view", color="red")
    Asking([example_catalog()], app.paths, clock=app.clock).refuse_all()
    assert app.journal.pending(1 << 40).rows == []


def test_no_app_asks_unprompted_while_the_ledger_is_damaged(asking: Asking, paths: Paths) -> None:
    os.makedirs(paths.config)
    Path(paths.ledger).write_text("{")
    assert asking.questions(ENOUGH) == []
    assert asking.status_line() is None
    assert len(asking.questions()) == 4, "but somebody who wants to can answer again"
    asking.answer("view", "no")
    assert asking.moved is not None
    assert Path(asking.moved).read_text() == "{"


class Screen(io.StringIO):
    """A terminal at which a person sits."""

    def isatty(self) -> bool:
        return True


class Person:
    """A person at a terminal: `types` is their input, `read` returns the output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.keyboard, self.screen = Screen(), Screen()
        monkeypatch.setattr(terminal.os, "tcgetpgrp", lambda fd: os.getpgrp())

    def types(self, text: str) -> None:
        # Within the test, because pytest puts its own streams in place between set-up and test.
        self.keyboard = Screen(text)
        for stream in (self.keyboard, self.screen):
            self._patch.setattr(stream, "fileno", lambda: 0)
        self._patch.setattr("sys.stdin", self.keyboard)
        self._patch.setattr("sys.stdout", self.screen)

    def read(self) -> str:
        return self.screen.getvalue()


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    return Person(monkeypatch)


def test_ask_prompts_a_person_who_knows_the_app(app: Shop, person: Person) -> None:
    person.types("y\n")
    assert not app.recorder.ask(starts=2, used_seconds=9999)
    assert not app.recorder.ask(starts=99, used_seconds=299)
    assert person.read() == ""
    assert app.recorder.ask(starts=3, used_seconds=300)
    assert "public, for ever" in person.read()
    answers = read_answers(app.paths.ledger)[app.namespace]
    assert all(answer.on for answer in answers.values())
    assert {answer.routes for answer in answers.values()} == {frozenset({"relay"})}
    assert not app.recorder.ask(starts=4, used_seconds=400), "once"
    assert app.recorder.record("view", color="red")
    ledger = read_ledger(app.paths.ledger)
    assert {entry["through"] for entry in ledger.history} == {"terminal"}
    assert ledger.asked


@pytest.mark.parametrize("text", ["", "\n", "l\n", "later\n"])
def test_enter_end_of_input_and_later_are_never_a_yes(app: Shop, person: Person, text: str) -> None:
    person.types(text)
    assert app.recorder.ask(starts=3, used_seconds=300)
    answers = read_answers(app.paths.ledger)[app.namespace]
    assert {answer.said for answer in answers.values()} == {"not-now"}
    assert not app.recorder.record("view", color="red")
    app.clock.advance(89 * 86_400)
    assert not app.recorder.ask(starts=9, used_seconds=9000)
    app.clock.advance(86_400)
    person.types("\n")
    assert app.recorder.ask(starts=9, used_seconds=9000)


def test_ctrl_c_is_not_now_and_still_ends_the_app(
    app: Shop, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> str:
        raise KeyboardInterrupt

    person.types("")
    monkeypatch.setattr(person.keyboard, "readline", interrupt)
    with pytest.raises(KeyboardInterrupt):
        app.recorder.ask(starts=3, used_seconds=300)
    answers = read_answers(app.paths.ledger)[app.namespace]
    assert {answer.said for answer in answers.values()} == {"not-now"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("CI", "true"), ("DO_NOT_TRACK", "1"), ("METHRICS", "off"), ("GITHUB_ACTIONS", "true")],
)
def test_no_prompt_where_a_rule_forbids_everything(
    app: Shop,
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, value)
    person.types("y\n")
    assert not app.recorder.ask(starts=3, used_seconds=300)
    if name == "CI":
        monkeypatch.setenv("METHRICS", "on")
        assert not app.recorder.ask(starts=3, used_seconds=300), "nobody sits at a build service"
    assert person.read() == ""
    assert not os.path.exists(app.paths.ledger)


def test_no_prompt_without_a_terminal_or_from_the_background(
    app: Shop, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.types("y\n")
    monkeypatch.setattr(terminal.os, "tcgetpgrp", lambda fd: os.getpgrp() + 1)
    assert not app.recorder.ask(starts=3, used_seconds=300)
    monkeypatch.setattr(terminal.os, "tcgetpgrp", lambda fd: os.getpgrp())
    for stream in (io.StringIO("y\n"), None):
        monkeypatch.setattr("sys.stdin", stream)
        assert not app.recorder.ask(starts=3, used_seconds=300)
    person.types("y\n")
    person.keyboard.close()
    assert not app.recorder.ask(starts=3, used_seconds=300)
    assert not os.path.exists(app.paths.ledger)


@pytest.mark.shows("MIM-1")
def test_mim_1_a_status_line_until_the_person_decides(
    app: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "methrics.consent")

    def lines() -> list[str]:
        caplog.clear()
        app.recorder.ask(starts=1, used_seconds=0)
        return [record.getMessage() for record in caplog.records]

    assert len(lines()) == 1
    assert way_back(app.paths, "ask") in lines()[0]
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert lines() == []
    monkeypatch.delenv("DO_NOT_TRACK")
    asking = app.recorder.asking()
    for name in app.catalog.types:
        asking.answer(name, "no")
    assert lines() == []


def test_a_recorder_without_a_catalog_asks_nothing(paths: Paths, person: Person) -> None:
    recorder = methrics.node.open(b"nonsense", home=paths.home)
    assert recorder.questions() == []
    assert not recorder.ask(starts=3, used_seconds=300)


def test_asking_opens_no_socket(app: Shop, person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    person.types("y\n")
    assert app.recorder.ask(starts=3, used_seconds=300)


def test_an_app_with_its_own_interface_is_told_when_to_ask(app: Shop) -> None:
    assert app.recorder.questions(starts=1, used_seconds=5) == []
    assert len(app.recorder.questions(starts=3, used_seconds=300)) == 4
    assert len(app.recorder.questions()) == 4


def test_the_status_line_names_a_command_that_finds_the_app(
    shop: Catalog, paths: Paths, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the first yes nothing else on the machine tells of the app."""
    file = tmp_path / "the app.cbor"
    file.write_bytes(shop.raw)
    caplog.set_level(logging.INFO, "methrics.consent")
    recorder = methrics.node.open(file, home=paths.home)
    assert not recorder.ask(starts=1, used_seconds=0)
    (line,) = (record.getMessage() for record in caplog.records)
    _, command = line.split("until you decide: ")
    done = subprocess.run(
        shlex.split(command), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert "a person has to answer, and this is no terminal" in done.stderr
