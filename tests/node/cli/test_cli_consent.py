"""`methrics consent`: the overview, granting and withdrawing, and their errors."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from methrics.aggregate.cli.main import main
from methrics.node.consent.ledger import grant, read_answers
from methrics.node.outbox.records import Kept, Records
from methrics.schema.example import example_bytes, example_catalog
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import Revoked, sign_record

if TYPE_CHECKING:
    from conftest import Shop


@pytest.fixture
def catalog(app: Shop, tmp_path: Path) -> str:
    path = tmp_path / "shop.cbor"
    path.write_bytes(app.catalog.raw)
    return str(path)


def run(app: Shop, *arguments: str) -> int:
    assert app.paths.home is not None
    return main(["consent", *arguments, "--home", app.paths.home])


@pytest.mark.shows("KPI-12")
def test_from_nothing_to_yes_to_no(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, "show") == 0
    assert "everything is off" in capsys.readouterr().out
    assert (
        run(app, "grant", "--catalog", catalog, "--type", "view", "--field", "color", "--yes") == 0
    )
    assert run(app, "show") == 0
    assert "view  on     color   relay   your answer" in capsys.readouterr().out
    app.clock.advance(2)
    assert app.recorder.record("view", color="red", size=5)
    assert not app.recorder.record("visit", color="red")
    assert run(app, "withdraw", "--app", app.namespace) == 0
    assert "1 waiting event deleted" in capsys.readouterr().out
    assert run(app, "show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["apps"][app.namespace]["view"]["on"] is False
    assert app.journal.pending(1 << 40).rows == []


def test_all_fields_means_those_of_today(app: Shop, catalog: str) -> None:
    assert run(app, "grant", "--catalog", catalog, "--yes") == 0
    answers = read_answers(app.paths.ledger)[app.namespace]
    assert set(answers) == set(app.catalog.types)
    assert answers["view"].fields == {"color", "size", "version"}


@pytest.mark.parametrize(
    "wrong",
    [
        ["grant", "--catalog", "{catalog}", "--type", "ghost", "--yes"],
        ["grant", "--catalog", "{catalog}", "--field", "shoe_size", "--yes"],
        ["grant", "--catalog", "no-such-file", "--yes"],
        ["grant", "--app", "shop", "--yes"],
        ["grant", "--yes"],
        ["withdraw", "--app", "nobody-knows-it"],
    ],
)
def test_mistakes_change_nothing(app: Shop, catalog: str, wrong: list[str]) -> None:
    assert run(app, *(part.format(catalog=catalog) for part in wrong)) != 0
    assert read_answers(app.paths.ledger) == {}


def test_a_misspelt_type_is_not_taken_for_one_that_is_off(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, "grant", "--catalog", catalog, "--yes") == 0
    before = read_answers(app.paths.ledger)
    capsys.readouterr()
    assert run(app, "withdraw", "--app", app.namespace, "--type", "veiw") == 2
    error = capsys.readouterr().err
    assert f"{app.namespace} has no event type veiw (did you mean view?)" in error
    assert error.count("\n") == 1
    assert read_answers(app.paths.ledger) == before


def test_the_overview_names_the_rule_that_overrides_answers(
    app: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert run(app, "show") == 0
    assert "DO_NOT_TRACK" in capsys.readouterr().out


def test_the_overview_shows_where_the_results_are(
    app: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "example.cbor"
    file.write_bytes(example_bytes())
    address = example_catalog().results
    assert address
    assert run(app, "show", "--catalog", str(file)) == 0
    assert f"  results: {address}\n" in capsys.readouterr().out
    assert run(app, "--json", "--catalog", str(file)) == 0
    assert list(json.loads(capsys.readouterr().out)["results"].values()) == [address]


def test_alone_it_shows_every_type_of_every_app_that_is_known(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(app.paths.data) / "catalogs"
    folder.mkdir(parents=True)
    (folder / "shop.cbor").write_bytes(app.catalog.raw)
    (folder / "broken.cbor").write_bytes(b"nonsense")
    assert run(app) == 0
    out = capsys.readouterr().out
    assert app.namespace in out
    for name in app.catalog.types:
        assert f"{name} " in out
    assert out.count("not decided yet") == 4
    assert run(app, "grant", "--catalog", catalog, "--type", "view", "--yes") == 0
    assert run(app, "--json") == 0
    shown = json.loads(capsys.readouterr().out.partition("\n")[2])["apps"][app.namespace]
    assert shown["view"]["rule"] == "answer"
    assert shown["view"]["through"] == "command"
    assert shown["click"] == {
        "on": False,
        "rule": "default",
        "fields": [],
        "routes": [],
        "answer": None,
        "since": None,
        "through": None,
        "changes": [],
        "revoked": None,
    }


def test_the_overview_marks_a_changed_question(
    app: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Path(app.paths.ledger)
    grant(app.paths, app.namespace, ["view"], now=1, catalog=app.catalog)
    ledger.write_text(ledger.read_text().replace("It is needed for a test.", "Another purpose."))
    folder = Path(app.paths.data) / "catalogs"
    folder.mkdir(parents=True)
    (folder / "shop.cbor").write_bytes(app.catalog.raw)
    assert run(app) == 0
    out = capsys.readouterr().out
    assert "changed question" in out
    assert "Another purpose." in out
    app.clock.advance(2)
    assert not app.recorder.record("view", color="red")


def test_withdrawing_everything(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(app, "grant", "--catalog", catalog, "--yes")
    app.clock.advance(2)
    assert app.recorder.record("view", color="red")
    assert run(app, "withdraw", "--all") == 0
    assert "every app: off; 1 waiting event deleted" in capsys.readouterr().out
    assert run(app) == 0
    out = capsys.readouterr().out
    assert "every app\n" in out
    assert " on " not in out
    for wrong in ([], ["--app", app.namespace, "--all"], ["--all", "--type", "view"]):
        assert run(app, "withdraw", *wrong) == 2


def test_the_history_as_a_table_and_for_programs(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, "history") == 0
    assert "no answer" in capsys.readouterr().out
    run(app, "grant", "--catalog", catalog, "--type", "view", "--field", "color", "--yes")
    run(app, "withdraw", "--app", app.namespace, "--type", "view")
    capsys.readouterr()
    assert run(app, "history") == 0
    out = capsys.readouterr().out
    assert "color" in out
    assert "command" in out
    assert run(app, "history", "--app", "shop", "--json") == 0
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["answer"] for entry in entries] == ["yes", "no"]
    assert run(app, "history", "--app", "another") == 2
    assert f"known here: {app.namespace}" in capsys.readouterr().err


def test_asking_needs_a_terminal(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(app, "ask", "--catalog", catalog) == 3
    assert "no terminal" in capsys.readouterr().err
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert run(app, "ask", "--catalog", catalog) == 0
    assert "DO_NOT_TRACK" in capsys.readouterr().out
    assert read_answers(app.paths.ledger) == {}


def test_the_page_needs_an_app(app: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, "--web") == 1
    assert "--catalog" in capsys.readouterr().out
    assert main(["consent", "--web", "history"]) == 2


def test_a_damaged_ledger_is_one_line_until_a_new_answer(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Path(app.paths.ledger)
    ledger.parent.mkdir(parents=True)
    ledger.write_text("{")
    assert run(app) == 3
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert ledger.read_text() == "{"
    assert run(app, "grant", "--catalog", catalog, "--yes") == 0
    assert "was damaged; it is kept as" in capsys.readouterr().err
    assert run(app) == 0


def installed(app: Shop) -> None:
    folder = Path(app.paths.data) / "catalogs"
    folder.mkdir(parents=True)
    (folder / "shop.cbor").write_bytes(app.catalog.raw)


def test_an_app_that_is_known_here_is_chosen_by_its_label(
    app: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(app)
    assert run(app, "grant", "--app", "shop", "--type", "view", "--yes") == 0
    assert set(read_answers(app.paths.ledger)[app.namespace]) == {"view"}
    capsys.readouterr()
    assert run(app, "--app", "shop", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["apps"]) == {app.namespace}
    assert run(app, "show", "--app", "shpo") == 2
    assert f"did you mean {app.namespace}?" in capsys.readouterr().err
    assert run(app, "withdraw", "--app", "shop") == 0
    assert not read_answers(app.paths.ledger)[app.namespace]["view"].on


@pytest.mark.parametrize("change", ["grant", "withdraw"])
def test_attack_a_prefix_of_another_app_changes_nothing(
    app: Shop, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(app)
    assert run(app, change, "--app", "sho", *(["--yes"] if change == "grant" else [])) == 2
    assert f"did you mean {app.namespace}?" in capsys.readouterr().err
    assert read_answers(app.paths.ledger) == {}


def test_what_a_signed_catalog_asks_is_shown_before_the_app_is_here(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, "--catalog", catalog) == 0
    out = capsys.readouterr().out
    assert app.namespace in out
    assert out.count("not decided yet") == 4


def test_granting_shows_what_is_allowed_and_asks(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run(app, "grant", "--catalog", catalog, "--type", "view") == 130
    out = capsys.readouterr().out
    assert "May shop share usage reports?" in out
    assert "1 of 1: view (shop)" in out
    assert read_answers(app.paths.ledger) == {}
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(app, "grant", "--catalog", catalog, "--type", "view") == 0
    assert read_answers(app.paths.ledger)[app.namespace]["view"].on


def test_the_prompt_and_catalog_show_print_the_same_text(
    app: Shop,
    catalog: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert main(["catalog", "show", catalog, "--consent"]) == 0
    shown = capsys.readouterr().out
    for entry in app.catalog.types.values():
        assert entry.question in shown
    monkeypatch.setenv("COLUMNS", "88")
    monkeypatch.setattr("sys.stdin", Terminal("d\nn\n"))
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    assert run(app, "ask", "--catalog", catalog) == 0
    first, details = (clockless(part) for part in shown.split("\nWhat you share is public"))
    asked = clockless(out.getvalue())
    assert details in asked
    facts = first[first.index("What leaves") :].splitlines()
    assert all(line in asked for line in facts if not line.startswith("To stop"))


def clockless(text: str) -> str:
    """The text without the seconds and minutes of "now", which pass between two commands."""
    return re.sub(r"2\d{3}-\d\d-\d\dT[\d:]+Z|\b1[78]\d{8}\b", "<now>", text)


@pytest.mark.parametrize("arguments", [["show"], ["history"], ["withdraw", "--all"]])
def test_a_user_without_a_home_folder_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    for name in ("HOME", "METHRICS_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("methrics.node.paths._entry_folder", lambda: "")
    assert main(["consent", *arguments]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "methrics: no home folder is known for this user (set HOME or METHRICS_HOME)\n"
    )


@pytest.mark.parametrize("form", ["words", "json"])
def test_the_variable_that_turns_everything_off_is_shown(
    app: Shop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
) -> None:
    monkeypatch.setenv("METHRICS", "disabled")
    app.allow()
    assert run(app, "show", *(["--json"] if form == "json" else [])) == 0
    told = capsys.readouterr().out
    if form == "json":
        shown = json.loads(told)
        assert (shown["overridden_by"], shown["variable"]) == ("methrics-off", "METHRICS=disabled")
    else:
        assert "overridden: METHRICS is set, and not to on" in told
        assert "(METHRICS=disabled)" in told
    assert not app.recorder.record("view", size=1)
    assert app.recorder.statistics().rule == "methrics-off"


def test_revoked_types_are_shown(app: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    grant(app.paths, app.namespace, ["view"], now=1, catalog=app.catalog)
    journal = app.journal
    journal.keep_catalog(app.catalog.id, app.catalog.raw)
    revoked = {"view": Revoked(600, "It asked for too much.")}
    item = sign_record([app.catalog.id], bytes(32), time=1, expires=TIME_MAX, revoked=revoked)
    Records(journal).save(Kept((item.raw,), 2))
    journal.close()
    assert run(app) == 0
    out = capsys.readouterr().out
    assert "revoked by the app's owner" in out
    assert "from 1970-01-01: It asked for too much." in out
    assert run(app, "--json") == 0
    shown = json.loads(capsys.readouterr().out)["apps"][app.namespace]
    assert shown["view"]["revoked"].endswith("It asked for too much.")
    assert shown["click"]["revoked"] is None
    assert run(app, "grant", "--app", app.namespace, "--yes") == 0
    said = capsys.readouterr().out
    assert f"{app.namespace}: revoked by the app's owner; nothing of these is sent: view" in said
    (on,) = [line for line in said.splitlines() if ": on: " in line]
    assert "click" in on
    assert "view" not in on
