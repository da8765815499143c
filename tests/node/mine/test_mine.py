"""Own reports: listed with their routes, chosen by name, erased, and exported to a file."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from methrics.aggregate.cli.main import main
from methrics.node.cli import erase as cli_erase
from methrics.node.cli.consent import consent
from methrics.node.cli.erase import erase
from methrics.node.consent.apps import known_catalogs
from methrics.node.mine.own import OwnReport
from methrics.node.mine.reports import pick, read_mine, to_cbor, to_csv, to_jsonl
from methrics.node.outbox.erasures import Erasures
from methrics.node.outbox.records import Kept, Records
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.publish.routes import Fate
from methrics.schema.errors import ConfigError
from methrics.schema.wire.codec import decode
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import Revoked, sign_record

if TYPE_CHECKING:
    from conftest import Post, Shop

DAY = 86_400


def fill(app: Shop, post: Post) -> list[OwnReport]:
    """A visit, a click and a purchase that left; a view that did not."""
    app.allow()
    app.recorder.record("visit", color="red", size=50)
    app.recorder.record("click", color="green")
    with app.recorder.sequence("buy", color="red") as buy:
        buy.step("shown")
    post.live(4 * DAY)
    app.recorder.record("view", color="red")
    app.clock.advance(DAY)
    post.cut = True
    post.publish()
    post.cut = False
    return mine(app)


def mine(app: Shop) -> list[OwnReport]:
    return read_mine(app.paths, app.clock)


def run(app: Shop, *arguments: str, answer: str = "") -> Result:
    assert app.paths.home is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_erase, "Clock", lambda: app.clock)
        return CliRunner().invoke(erase, [*arguments, "--home", app.paths.home], input=answer)


def test_what_left_when_and_by_which_route(app: Shop, post: Post) -> None:
    found = fill(app, post)
    told = {one.receipt.type: (one.may_have_left, one.fate) for one in found}
    assert told == {
        "visit": (True, "left by relay"),
        "click": (True, "left by relay"),
        "buy": (True, "left by relay"),
        "view": (False, "waits to leave by relay"),
    }
    assert [one.receipt.made for one in found] == sorted(one.receipt.made for one in found)
    buy = next(one for one in found if one.receipt.type == "buy")
    assert buy.parts["sequence"] == "shown@0"


def test_every_fate_has_words(app: Shop, post: Post) -> None:
    app.allow()
    app.recorder.record("view", color="red")
    app.clock.advance(DAY)
    post.fate = Fate.RETRY
    post.publish()
    assert mine(app)[0].fate == "may have left by relay, will be tried again"
    journal = app.journal
    journal.strike(0)
    assert mine(app)[0].fate == "may have left by relay, will not be sent again"
    journal.database.execute("UPDATE report SET attempts = 0")
    assert mine(app)[0].fate == "struck out, never left"
    saved, listed = Records(journal).load(), {"view": Revoked(0, "It asked for too much.")}
    revoking = sign_record([], b"s" * 32, time=0, expires=TIME_MAX, revoked=listed)
    Records(journal).save(Kept((revoking.raw,), 2))
    assert mine(app)[0].fate == "struck out, never left; its event type is revoked"
    Records(journal).save(saved)
    journal.database.execute("UPDATE report SET attempts = 1")
    run(app, "--all", "--yes", "--over", "0s")
    assert mine(app)[0].fate == "erasure waits to leave"
    post.publish()
    assert mine(app)[0].fate == "erasure tried, will be tried again"
    post.fate = Fate.ACKNOWLEDGED
    post.live(DAY)
    assert mine(app)[0].fate == "erasure left by relay"
    post.fate = Fate.REFUSED
    Erasures(journal).request_again([(0, app.clock.now())])
    post.publish()
    assert mine(app)[0].fate == "erasure refused by every relay"


def test_names(app: Shop, post: Post) -> None:
    found = fill(app, post)
    for one in found:
        assert pick(found, [str(one.number)]) == [one]
        assert pick(found, [one.id.hex()[:10].upper()]) == [one]
    assert pick(found, ["0", "1", "0"]) == [pick(found, ["0"])[0], pick(found, ["1"])[0]]
    for wrong in ("99", "abcdef012345", found[0].id.hex()[:5], "", "visit"):
        with pytest.raises(ConfigError) as caught:
            pick(found, [wrong])
        assert caught.value.code == "unknown-report"
    twin = [found[0], found[0]]
    with pytest.raises(ConfigError, match="more than one"):
        pick(twin, [found[0].id.hex()])


# -- METH-6: exports ---------------------------------------------------------------------------


@pytest.mark.shows("METH-6")
def test_meth_6_cbor_holds_the_exact_bytes(app: Shop, post: Post) -> None:
    found = fill(app, post)
    document = decode(to_cbor(found), limit=1 << 20)
    assert isinstance(document, dict)
    assert [one["raw"] for one in document["reports"]] == [one.receipt.raw for one in found]
    assert document["reports"][0]["values"] == dict(found[0].report.values)  # type: ignore[union-attr]


@pytest.mark.shows("METH-6")
def test_meth_6_json_lines_and_csv_say_the_same(app: Shop, post: Post) -> None:
    found = fill(app, post)
    run(app, found[0].id.hex(), "--yes")
    found = mine(app)
    lines = [json.loads(line) for line in to_jsonl(found).splitlines()]
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(lines) == len(rows) == 4
    for line, row, one in zip(lines, rows, found, strict=True):
        assert line["id"] == row["id"] == one.id.hex()
        assert line["raw"] == row["raw"] == one.receipt.raw.hex()
        assert line["state"] == row["state"]
        assert line["values"].get("color", "") == row["value.color"]
        assert line.get("erasure", {}).get("state", "") == row["erasure"]
        assert json.dumps(line["sequence"]) == row["sequence"] if "sequence" in line else True
    assert [row["erasure"] for row in rows].count("due") == 1


def test_no_export_holds_a_key_that_could_erase(app: Shop, post: Post) -> None:
    found = fill(app, post)
    seed = Erasures(app.journal).seed_of(0)
    for text in (to_cbor(found), to_jsonl(found).encode(), to_csv(found).encode()):
        assert seed not in text
        assert seed.hex().encode() not in text


# -- methrics erase ------------------------------------------------------------------------------


def test_erase_one(app: Shop, post: Post) -> None:
    found = fill(app, post)
    one = next(one for one in found if one.receipt.type == "click")
    result = run(app, one.id.hex()[:8], "--yes", "--over", "1h")
    assert result.exit_code == 0, result.output
    assert "erasures to send: 1, within 1 hour" in result.output
    assert "methrics publish" in result.output
    asked = Erasures(app.journal).all()
    assert list(asked) == [one.number]
    assert app.clock.now() <= asked[one.number].due <= app.clock.now() + 3600
    assert len(mine(app)) == 4, "erasing one report leaves the pending ones alone"


def test_erase_a_type_drops_what_waits_of_it(app: Shop, post: Post) -> None:
    fill(app, post)
    app.recorder.record("view", color="green")
    app.recorder.record("click", color="red")
    result = run(app, "--type", "view", "--yes")
    assert "dropped before they left: 1 report, 1 waiting event\n" in result.output
    assert {one.type for one in app.journal.pending(1 << 40).rows} == {"click"}
    assert {one.receipt.type for one in mine(app)} == {"visit", "click", "buy"}
    assert Erasures(app.journal).all() == {}


@pytest.mark.parametrize("how", ["--all", "--app"])
def test_erase_everything(app: Shop, post: Post, how: str) -> None:
    fill(app, post)
    app.recorder.record("view", color="green")
    arguments = [how] if how == "--all" else [how, app.namespace]
    result = run(app, *arguments, "--json", "--yes")
    told = json.loads(result.output)
    assert (told["journaled"], told["dropped"], told["waiting"]) == (3, 1, 1)
    again = json.loads(run(app, *arguments, "--json", "--yes", "--again").output)
    assert (again["journaled"], again["already"], again["again"]) == (0, 3, 0)
    post.opened.clear()
    post.live(9 * DAY)
    assert {split(raw).kind for raw in post.sent} == {Kind.ERASURE}
    assert len(post.sent) == 3
    again = json.loads(run(app, *arguments, "--json", "--yes", "--again").output)
    assert again["again"] == 3
    post.live(9 * DAY)
    assert len(post.sent) == 6
    assert len(set(post.sent)) == 3


def test_erase_asks_first_and_says_what_cannot_be_called_back(app: Shop, post: Post) -> None:
    fill(app, post)
    result = run(app, "--all", "--over", "1h", answer="n\n")
    assert result.exit_code != 0
    assert "already left: 3 reports" in result.output
    assert "cannot be called back" in result.output
    assert "may guess that they come from one person" in result.output
    assert Erasures(app.journal).all() == {}
    assert len(mine(app)) == 4
    assert run(app, "--all", answer="y\n").exit_code == 0
    assert len(Erasures(app.journal).all()) == 3


def test_where_nothing_waits_or_has_left_nothing_is_asked(app: Shop, post: Post) -> None:
    app.allow()
    app.recorder.record("view", color="green")
    assert "Erase?" in run(app, "--all", answer="n\n").output
    assert "Erase?" in run(app, "--type", "view", answer="n\n").output
    nothing = "nothing of that waits or has left: there is nothing to erase\n"
    assert run(app, "--type", "click").output == nothing
    assert run(app, "--all", "--yes").exit_code == 0
    for arguments in (["--all"], ["--app", app.namespace], ["--all", "--again"]):
        result = run(app, *arguments)
        assert (result.exit_code, result.output) == (0, nothing)
    assert json.loads(run(app, "--all", "--yes", "--json").output)["dropped"] == 0


def test_where_nothing_was_recorded_nothing_is_asked(tmp_path: Path) -> None:
    result = CliRunner().invoke(erase, ["--all", "--home", str(tmp_path / "nobody")])
    assert result.exit_code == 0
    assert result.output == "nothing was recorded here: there is nothing to erase\n"


def test_a_misspelt_type_is_not_taken_for_one_without_reports(
    app: Shop, post: Post, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(app, post)
    assert app.paths.home is not None
    named = ["--type", "veiw", "--type", "view"]
    assert main(["erase", *named, "--yes", "--home", app.paths.home]) == 2
    assert "this machine has no event type veiw" in capsys.readouterr().err
    assert "waits to leave by relay" in {one.fate for one in mine(app)}


def test_a_machine_that_is_silent_says_so(
    app: Shop, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(app, post)
    monkeypatch.setenv("METHRICS", "off")
    assert "this machine may not send anything" in run(app, "--all", "--yes").output


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--all", "--type", "view"],
        ["--all", "--over", "61d"],
        ["--all", "--over", "soon"],
        ["--all", "--over", "7"],
        ["abcdef99"],
        ["--app", "ghost"],
        ["--app", "sho"],
    ],
    ids=" ".join,
)
def test_wrong_use_changes_nothing(app: Shop, post: Post, wrong: list[str]) -> None:
    fill(app, post)
    assert run(app, *wrong, "--yes").exit_code != 0
    assert Erasures(app.journal).all() == {}
    assert {one.state for one in app.journal.receipts(type_name="visit")} == {ACKNOWLEDGED}


# -- consent taken back --------------------------------------------------------------------------


def test_attack_a_folder_that_cannot_be_read_is_not_an_empty_one(
    app: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    app.allow()
    assert app.recorder.record("visit", color="red")
    monkeypatch.setattr(os, "listdir", refuse)
    result = run(app, "--all", "--yes")
    assert isinstance(result.exception, PermissionError)
    assert "nothing" not in result.output
    assert known_catalogs(app.paths) == [], "asking goes on without the catalogs"


def withdraw(app: Shop, *arguments: str, answer: str = "") -> Result:
    assert app.paths.home is not None
    return CliRunner().invoke(
        consent, ["withdraw", *arguments, "--home", app.paths.home], input=answer
    )


@pytest.mark.parametrize("whom", ["--all", ""])
def test_who_withdraws_is_told_how_to_erase(app: Shop, post: Post, whom: str) -> None:
    fill(app, post)
    result = withdraw(app, *([whom] if whom else ["--app", app.namespace]))
    assert result.exit_code == 0, result.output
    assert (
        "already sent: 3 reports, public now or within two days, while relays still mix them "
        f"with others; to erase them: methrics erase "
        f"--app {app.namespace}" in result.output
    )
    assert Erasures(app.journal).all() == {}


def test_who_withdraws_on_a_terminal_is_asked(
    app: Shop, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(app, post)
    monkeypatch.setattr(cli_erase, "on_a_terminal", lambda: True)
    shown = withdraw(app, "--app", app.namespace, "--type", "view").output
    assert shown.count("deleted") == 1
    assert "already left" not in shown
    withdraw(app, "--app", app.namespace, "--type", "click", answer="n\n")
    assert Erasures(app.journal).all() == {}
    withdraw(app, "--app", app.namespace, "--type", "click", answer="y\n")
    click = next(one for one in mine(app) if one.receipt.type == "click")
    assert list(Erasures(app.journal).all()) == [click.number]
    again = withdraw(app, "--app", app.namespace, "--type", "click")
    assert "already left" not in again.output


def test_where_nobody_can_be_asked_the_answer_is_what_to_add(app: Shop, post: Post) -> None:
    fill(app, post)
    result = run(app, "--all")
    assert result.exit_code == 2
    assert "the question got no answer: add --yes" in result.output
    assert Erasures(app.journal).all() == {}
