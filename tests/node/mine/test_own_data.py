"""`recorder.mine()` does what the commands do, and raises nothing but LocalError."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from click.testing import CliRunner

import methrics.node
from methrics.node.cli.consent import consent
from methrics.node.cli.erase import erase, reset
from methrics.node.consent.ledger import read_ledger
from methrics.node.mine import mine as mine_module
from methrics.node.mine.mine import Mine
from methrics.node.outbox.erasures import Erasures
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.paths import user_paths
from methrics.node.process.lock import FileLock
from methrics.schema.errors import ConfigError, LocalError, StoreError
from methrics.schema.wire.codec import decode
from methrics.schema.wire.envelope import Kind, split

if TYPE_CHECKING:
    from conftest import Post, Shop

DAY = 86_400


def fill(app: Shop, post: Post) -> Mine:
    """Reports of three types that left, and an event that waits."""
    app.allow()
    app.recorder.record("visit", color="red", size=50)
    app.recorder.record("click", color="green")
    with app.recorder.sequence("buy", color="red") as buy:
        buy.step("shown")
    post.live(4 * DAY)
    app.recorder.record("view", color="red")
    return app.recorder.mine()


def test_reports_are_listed_in_words(app: Shop, post: Post) -> None:
    found = {one.receipt.type: one for one in fill(app, post).reports()}
    assert set(found) == {"visit", "click", "buy"}
    assert found["click"].words == "color green, count 1"
    assert found["visit"].words.startswith("color red, size 10 to under 100 cm, daily yes")
    assert {one.fate for one in found.values()} == {"left by relay"}


def test_a_preview_shows_what_leaves_and_a_struck_entry_never_leaves(app: Shop, post: Post) -> None:
    mine = fill(app, post)
    app.recorder.record("view", color="green")
    entries = mine.preview()
    assert [one.type for one in entries] == ["view", "view"]
    red, green = sorted(entries, key=lambda one: "green" in " ".join(mine.describe(one)))
    assert any("color" in line and "red" in line for line in mine.describe(red))
    assert mine.strike(green) == "struck"
    assert mine.strike(green) == "gone"
    assert mine.preview("direct")[0].state == "waits"
    post.opened.clear()
    post.live(DAY)
    assert [split(raw).payload for raw in post.sent] == [split(red.raw).payload]


@pytest.mark.shows("METH-6")
def test_every_export_has_all_reports(app: Shop, post: Post, tmp_path: Path) -> None:
    mine = fill(app, post)
    assert len(mine.export("jsonl").splitlines()) == 3
    assert len(mine.export("csv").splitlines()) == 4
    document = decode(mine.export("cbor"), limit=1 << 20)
    assert isinstance(document, dict)
    assert len(document["reports"]) == 3
    out = tmp_path / "own.csv"
    out.write_text("old")
    os.chmod(out, 0o644)
    assert mine.save(out) == 3
    assert out.read_bytes() == mine.export("csv")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600, "only its owner may read it"
    assert mine.save(str(tmp_path / "own"), "cbor") == 3


def test_a_withdrawal_takes_effect_before_it_returns(app: Shop, post: Post) -> None:
    mine = fill(app, post)
    done = mine.withdraw("view", "click")
    assert (done.deleted, [one.receipt.type for one in done.left]) == (1, ["click"])
    assert not app.recorder.record("view", color="red")
    assert app.recorder.record("visit", color="red")
    done = mine.withdraw()
    assert done.deleted == 1
    assert {one.receipt.type for one in done.left} == {"visit", "click", "buy"}
    assert not app.recorder.record("visit", color="red")
    assert app.recorder.questions() == [], "also the types of later versions are refused"
    last = read_ledger(app.paths.ledger).history[-1]
    assert (last["app"], last["answer"], last["through"]) == (app.namespace, "no", "app")
    post.opened.clear()
    post.live(30 * DAY)
    assert post.sent == []


@pytest.mark.parametrize("look", ["facts", "statistics"])
def test_an_answer_counts_at_once_whichever_call_reads_it_first(app: Shop, look: str) -> None:
    def read() -> None:
        app.recorder.facts("view") if look == "facts" else app.recorder.statistics()

    assert not app.recorder.record("view", color="red")
    app.recorder.asking().answer("view", "yes")
    read()
    assert app.recorder.record("view", color="red")
    app.recorder.asking().answer("click", "yes")
    read()
    assert app.recorder.count("click", 2, color="red")
    app.recorder.mine().withdraw()
    read()
    assert not app.recorder.record("view", color="red")
    assert not app.recorder.count("click", 2, color="red")


@pytest.mark.shows("NEW-3")
def test_reports_that_left_are_erased_after_a_withdrawal(app: Shop, post: Post) -> None:
    mine = fill(app, post)
    done = mine.erase(mine.withdraw().left)
    assert (done.journaled, done.dropped, done.waiting) == (3, 0, 0)
    assert {one.fate for one in mine.reports()} == {"erasure waits to leave"}
    assert mine.withdraw().left == [], "their erasure was asked for already"
    post.opened.clear()
    post.live(8 * DAY)
    assert [split(raw).kind for raw in post.sent] == [Kind.ERASURE] * 3
    again = mine.erase(again=True, over=60)
    assert (again.journaled, again.already, again.again) == (0, 3, 3)


def test_erasing_everything_also_drops_what_waits(app: Shop, post: Post) -> None:
    mine = fill(app, post)
    done = mine.erase(types=["view", "visit"])
    assert (done.journaled, done.waiting) == (1, 1)
    done = mine.erase()
    assert (done.journaled, done.already) == (2, 1)
    assert mine.may_erase()


def test_a_damaged_receipt_does_not_prevent_the_erasure_of_others(app: Shop, post: Post) -> None:
    mine = fill(app, post)
    app.journal.database.execute("UPDATE report SET raw = x'00' WHERE type = 'click'")
    assert "click" in {one.receipt.type for one in mine.reports()}
    done = mine.erase()
    assert (done.journaled, done.damaged) == (2, 1)


def test_reset_keeps_receipts_and_burn_destroys_them(app: Shop, post: Post) -> None:
    mine = fill(app, post)
    mine.erase(mine.reports()[:1])
    assert mine.reset() == [app.namespace]
    assert len(mine.reports()) == 3
    assert mine.to_burn() == mine.burn()
    assert mine.reports() == []
    assert mine.to_burn().receipts == 0


RELAY = "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWGRUVhvYRzLN4Pv2hkvpDW2LoRmLhQMSm5dBZcVUkKVuy"


@pytest.mark.shows("NEW-3")
def test_erasures_leave_after_a_full_withdrawal(
    app: Shop, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(mine_module, "start", started.append)
    fill(app, post)
    mine = app.open(relays=[RELAY]).mine()
    assert mine.withdraw().left
    assert not mine.send_erasures(), "nothing was asked for"
    mine.erase(over=DAY)
    app.clock.advance(DAY)
    without = app.open().mine()
    assert not without.send_erasures(), "no relay is known"
    monkeypatch.setenv("METHRICS", "off")
    assert not mine.send_erasures(), "this machine must not send"
    monkeypatch.delenv("METHRICS")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not mine.send_erasures(), "a packaged app cannot start Python"
    monkeypatch.delattr(sys, "frozen")
    with FileLock(app.paths.publisher_lock(app.namespace)):
        assert not mine.send_erasures(), "a publisher runs"
    assert started == []
    assert mine.send_erasures()
    (argv,) = started
    assert argv[argv.index("--default-relay") + 1] == RELAY
    assert argv[argv.index("--app") + 1] == app.namespace
    monkeypatch.setattr(mine_module, "start", refuse)
    assert not mine.send_erasures()


def refuse(*_: object) -> NoReturn:
    raise BlockingIOError(11, "Resource temporarily unavailable")


# -- the same as the commands --------------------------------------------------------------------


def state(app: Shop, home: Path) -> dict[str, object]:
    """The content of a person's folder, without random values and the surface of an answer."""
    paths = user_paths(home)
    journal = Journal(paths.outbox(app.namespace), clock=app.clock)
    try:
        ledger = read_ledger(paths.ledger)
        return {
            "answers": {name: one.said for name, one in ledger.answers[app.namespace].items()},
            "reports": [(one.type, one.state) for one in journal.receipts()],
            "erasures": sorted(Erasures(journal).all()),
            "waiting": sorted(one.type for one in journal.pending(1 << 40).rows),
            "seed": "seed" in dict(journal.database.rows("SELECT name, 1 FROM meta")),
        }
    finally:
        journal.close()


ACTIONS: dict[str, tuple[object, list[str], Callable[[Mine], object]]] = {
    "withdraw": (consent, ["withdraw", "--app", "shop"], lambda mine: mine.withdraw()),
    "withdraw a type": (
        consent,
        ["withdraw", "--app", "shop", "--type", "view"],
        lambda mine: mine.withdraw("view"),
    ),
    "erase": (erase, ["--app", "shop", "--yes"], lambda mine: mine.erase()),
    "erase a type": (
        erase,
        ["--app", "shop", "--type", "click", "--yes"],
        lambda mine: mine.erase(types=["click"]),
    ),
    "reset": (reset, ["--app", "shop"], lambda mine: mine.reset()),
    "burn": (reset, ["--app", "shop", "--burn", "--yes"], lambda mine: mine.burn()),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_an_app_does_the_same_as_the_command(
    name: str, app: Shop, post: Post, tmp_path: Path
) -> None:
    command, arguments, action = ACTIONS[name]
    fill(app, post)
    app.recorder.close()
    assert app.paths.home is not None
    before = state(app, Path(app.paths.home))
    by_app, by_command = tmp_path / "app", tmp_path / "command"
    shutil.copytree(app.paths.home, by_app)
    shutil.copytree(app.paths.home, by_command)
    done = CliRunner().invoke(command, [*arguments, "--home", str(by_command)])  # type: ignore[arg-type]
    assert done.exit_code == 0, done.output
    action(app.open(home=by_app).mine())
    assert state(app, by_app) == state(app, by_command)
    assert state(app, by_app) != before or name == "erase a type"


# -- faults ----------------------------------------------------------------------------------------


def test_looking_makes_no_file(app: Shop) -> None:
    mine = app.recorder.mine()
    assert (mine.reports(), mine.preview(), mine.damaged()) == ([], [], [])
    assert mine.export() == b""
    assert mine.reset() == []
    assert mine.burn().receipts == 0
    assert mine.erase().journaled == 0
    assert not Path(app.paths.data).exists()


def test_a_no_is_written_where_nothing_was_recorded(app: Shop) -> None:
    assert app.recorder.mine().withdraw().left == []
    assert app.recorder.questions() == []


def test_a_recorder_without_a_catalog_has_no_reports_and_says_so(tmp_path: Path) -> None:
    mine = methrics.node.open(tmp_path / "none.cbor", home=tmp_path).mine()
    assert mine.reports() == []
    with pytest.raises(ConfigError) as caught:
        mine.withdraw()
    assert caught.value.code == "no-app"


@pytest.mark.parametrize(
    ("work", "code"),
    [
        (lambda mine: mine.preview("carrier pigeon"), "unknown-route"),
        (lambda mine: mine.export("xml"), "unknown-format"),
        (lambda mine: mine.save("/nowhere/own.csv"), "export-unwritten"),
        (lambda mine: mine.withdraw("veiw"), "unknown-type"),
        (lambda mine: mine.erase(over=-1), "wrong-window"),
        (lambda mine: mine.erase(over=61 * DAY), "wrong-window"),
    ],
)
def test_wrong_use_raises_a_local_error(
    work: Callable[[Mine], object], code: str, app: Shop, post: Post
) -> None:
    mine = fill(app, post)
    with pytest.raises(LocalError) as caught:
        work(mine)
    assert caught.value.code == code
    assert {one.state for one in app.journal.receipts()} == {ACKNOWLEDGED}


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(
    app: Shop, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    mine = fill(app, post)
    monkeypatch.setattr(os, "listdir", refuse)
    for work in (mine.reports, mine.preview, mine.erase, mine.reset, mine.burn, mine.damaged):
        with pytest.raises(StoreError) as caught:
            work()
        assert caught.value.code == "folder-unread"


def test_a_no_replaces_a_damaged_ledger(app: Shop, post: Post) -> None:
    mine = fill(app, post)
    Path(app.paths.ledger).write_text("{")
    done = mine.withdraw("view")
    assert done.moved is not None
    assert Path(done.moved).read_text() == "{"
    assert json.loads(Path(app.paths.ledger).read_text())
    assert not app.recorder.record("view", color="red")
