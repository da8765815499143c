"""A preview shows the bytes that leave next, changes nothing, and can strike out a report."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from methrics.aggregate.cli.main import main
from methrics.node.cli import preview as cli_preview
from methrics.node.consent.ledger import withdraw
from methrics.node.mine.preview import NEVER, PLANNED, SIGNED, WAITS, WITHHELD, Leaving, look
from methrics.node.outbox.records import Kept, Records
from methrics.node.outbox.rows import STRUCK
from methrics.node.publish.permission import consent_of
from methrics.node.publish.routes import Fate
from methrics.node.report.threshold.keeping import write_threshold
from methrics.schema.wire.diagnostic import hexdump
from methrics.schema.wire.envelope import Item, split
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import Revoked, sign_record

if TYPE_CHECKING:
    from conftest import Post, Shop

DAY = 86_400


def seen(app: Shop, route: str = "relay") -> list[Leaving]:
    consent = consent_of(app.paths, app.namespace, route, app.clock)()
    found = look(app.paths, app.namespace, consent, route, app.clock)
    assert found is not None
    return found.leaving


def dump(app: Shop) -> list[str]:
    journal = app.journal
    with journal.database.transaction(write=False) as con:
        lines = list(con.iterdump())
    journal.close()
    return lines


def fill(app: Shop) -> None:
    app.allow()
    app.recorder.record("visit", color="red", size=50)
    app.recorder.record("view", color="green")
    app.recorder.record("view", size=5)
    app.recorder.record("click", color="red")
    app.recorder.record("click", color="red")
    with app.recorder.sequence("buy", color="red") as buy:
        buy.step("shown")
        buy.step("paid")


def journal_all(app: Shop, post: Post) -> None:
    """Reports are made and journaled, but no connection can be opened."""
    app.clock.advance(3 * DAY)
    post.cut = True
    post.publish()
    post.cut = False


def test_what_leaves_later_is_byte_for_byte_what_was_shown(app: Shop, post: Post) -> None:
    fill(app)
    journal_all(app, post)
    shown = seen(app)
    assert {one.state for one in shown} == {SIGNED}
    assert len(shown) == 5
    app.clock.advance(DAY)
    post.publish()
    assert sorted(post.sent) == sorted(one.raw for one in shown)


def test_what_waits_is_shown_as_the_report_that_is_made_of_it(app: Shop, post: Post) -> None:
    fill(app)
    journal_all(app, post)
    app.recorder.record("view", color="red", size=1000)
    app.recorder.record("view", color="other")
    shown = [one for one in seen(app) if one.state == PLANNED]
    assert len(shown) == 2
    app.clock.advance(DAY)
    post.publish()
    sent = [split(raw) for raw in post.sent]
    assert {split(one.raw).payload for one in shown} < {one.payload for one in sent}
    assert {split(one.raw).key for one in shown}.isdisjoint(one.key for one in sent)


def test_looking_changes_nothing_and_opens_no_network(
    app: Shop, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(app)
    journal = app.journal
    journal.fold()  # the one change that a preview makes
    journal.close()
    monkeypatch.setattr(socket, "socket", None)
    monkeypatch.setattr("random.random", None)
    monkeypatch.setattr("os.urandom", None)
    before = dump(app)
    files = {path.name: path.stat().st_size for path in Path(app.paths.data).rglob("*.db")}
    first = seen(app)
    assert first == seen(app), "a preview draws no random times"
    assert [one.state for one in first] == [PLANNED] * 5
    assert run(app).exit_code == 0
    assert run(app, "--json").exit_code == 0
    assert dump(app) == before
    assert {p.name: p.stat().st_size for p in Path(app.paths.data).rglob("*.db")} == files
    assert "seed" not in "".join(line for line in before if "meta" in line), "no identity yet"
    monkeypatch.undo()


def test_looking_makes_no_file(app: Shop) -> None:
    consent = consent_of(app.paths, app.namespace, "relay", app.clock)()
    assert look(app.paths, app.namespace, consent, "relay", app.clock) is None
    assert run(app).output == "nothing waits to leave\n"
    assert not Path(app.paths.data).exists()


def test_nothing_leaves_sooner_than_it_was_said(app: Shop, post: Post) -> None:
    fill(app)
    said = {one.type: one.earliest for one in seen(app) if one.type in ("visit", "buy")}
    moments: dict[str, int] = {}
    post.live(3 * DAY)
    for receipt in app.journal.receipts():
        moments[receipt.type] = receipt.made
    for name, earliest in said.items():
        assert moments[name] >= earliest > 0


def test_a_second_sign_of_life_of_a_day_is_told_for_the_next_one(app: Shop, post: Post) -> None:
    app.allow()
    app.recorder.record("visit", color="red")
    post.live(DAY)
    app.recorder.record("visit", color="green")
    pace = app.journal.paces()["visit"]
    (one,) = seen(app)
    assert one.state == PLANNED
    assert one.earliest >= pace.next
    assert one.report is not None
    assert one.report.values["daily"] is True


# -- what does not leave, and why ----------------------------------------------------------------


def test_it_says_why_something_does_not_leave(app: Shop) -> None:
    app.allow()
    app.recorder.record("view", color="red")
    app.recorder.record("click", color="red")
    assert {one.state for one in seen(app, "direct")} == {WAITS}
    withdraw(app.paths, app.namespace, ["click"], now=app.clock.now())
    app.clock.advance(2)
    assert {(one.type, one.state) for one in seen(app)} == {("view", PLANNED), ("click", NEVER)}
    app.clock.advance(40 * DAY)
    assert {(one.type, one.reason) for one in seen(app)} == {
        ("view", "late"),
        ("click", "withdrawn"),
    }


def test_what_the_persons_threshold_withholds_is_shown_as_withheld(app: Shop) -> None:
    app.allow()
    app.recorder.record("view", color="red")
    write_threshold(app.paths, 50)
    (one,) = seen(app)
    assert one.state == WITHHELD
    assert one.report is not None
    assert one.raw == b"", "it is not signed"
    assert "threshold" in run(app).output


def test_do_not_track_is_said(app: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(app)
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert run(app).output.startswith("nothing leaves now: DO_NOT_TRACK is set")
    assert {one.state for one in seen(app)} == {WAITS}


# -- striking out --------------------------------------------------------------------------------


def test_what_is_struck_out_never_leaves(app: Shop, post: Post) -> None:
    fill(app)
    before = seen(app)
    assert run(app, "--strike", before[0].id, "--strike", "2").exit_code == 0
    left = seen(app)
    assert [one.id for one in left] == [one.id for one in before[2:]]
    post.live(10 * DAY)
    assert len(post.sent) == len(left) == 3
    types = sorted(one.type for one in app.journal.receipts())
    assert types == sorted(one.type for one in left)


def test_a_journaled_report_can_be_struck_out(app: Shop, post: Post) -> None:
    fill(app)
    journal_all(app, post)
    doomed = seen(app)[0]
    result = run(app, "--strike", doomed.id)
    assert "never leaves" in result.output
    app.clock.advance(DAY)
    post.publish()
    assert len(post.sent) == 4
    assert doomed.raw not in post.sent
    assert [one.raw for one in app.journal.receipts(state=STRUCK)] == [doomed.raw]


def test_what_may_have_left_is_said_to(app: Shop, post: Post) -> None:
    app.allow()
    app.recorder.record("view", color="red")
    app.clock.advance(DAY)
    post.fate = Fate.RETRY
    post.publish()
    result = run(app, "--strike", "1")
    assert "may have left" in result.output
    assert "methrics erase" in result.output
    post.live(10 * DAY)
    assert len(post.sent) == 1


def test_a_state_that_was_recorded_anew_is_another_one(app: Shop) -> None:
    app.allow()
    app.recorder.record("visit", color="red")
    (old,) = seen(app)
    app.recorder.record("visit", color="green")
    (new,) = seen(app)
    assert old.id != new.id
    result = run(app, "--strike", old.id)
    assert result.exit_code != 0
    assert len(seen(app)) == 1


def test_a_counter_keeps_its_name_while_it_counts(app: Shop, post: Post) -> None:
    app.allow()
    app.recorder.record("click", color="red")
    (old,) = seen(app)
    app.recorder.record("click", color="red")
    assert seen(app)[0].id == old.id
    run(app, "--strike", old.id)
    assert seen(app) == []
    post.live(5 * DAY)
    assert post.sent == []


def test_one_wrong_name_strikes_nothing(app: Shop) -> None:
    fill(app)
    assert run(app, "--strike", "1", "--strike", "99").exit_code != 0
    assert len(seen(app)) == 5


def test_on_a_terminal_it_asks(app: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(app)
    before = seen(app)
    monkeypatch.setattr(cli_preview, "on_a_terminal", lambda: True)
    result = run(app, "--brief", answer="1, 3\n")
    assert result.output.count("never leaves") == 2
    assert [one.id for one in seen(app)] == [before[i].id for i in (1, 3, 4)]
    assert run(app, answer="\n").output.count("never leaves") == 0


# -- the command ---------------------------------------------------------------------------------


def run(app: Shop, *arguments: str, answer: str = "") -> Result:
    assert app.paths.home is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_preview, "Clock", lambda: app.clock)
        return CliRunner().invoke(
            cli_preview.preview, [*arguments, "--home", app.paths.home], input=answer
        )


def test_it_shows_words_diagnostic_notation_and_hex(app: Shop, post: Post) -> None:
    fill(app)
    journal_all(app, post)
    text = run(app).output
    for one in seen(app):
        assert one.id in text
        assert hexdump(one.raw) in text
        assert one.report is not None
    assert "Which color you chose." in text
    assert "signed and journaled: exactly these bytes leave" in text
    assert "/ EdDSA, a report, the key /" in text
    brief = run(app, "--brief").output
    assert "EdDSA" not in brief
    assert "Which color you chose." in brief


def test_the_meanings_of_a_report_start_in_one_column(app: Shop) -> None:
    fill(app)
    blocks = run(app, "--brief").output.split("\n\n")
    meant = ("Which color you chose.", "Roughly how large it is.")
    block = next(one for one in blocks if all(words in one for words in meant))
    columns = [line.index(words) for line in block.splitlines() for words in meant if words in line]
    assert len(columns) == 2
    assert len(set(columns)) == 1


def test_json_for_programs(app: Shop, post: Post) -> None:
    fill(app)
    journal_all(app, post)
    app.recorder.record("view", color="red")
    document = json.loads(run(app, "--json").output)
    assert [one["number"] for one in document["leaving"]] == [1, 2, 3, 4, 5, 6]
    fixed = {one["raw"]: (one["content_fixed"], one["bytes_fixed"]) for one in document["leaving"]}
    assert sorted(fixed) == sorted(one.raw.hex() for one in seen(app))
    assert list(fixed.values()).count((True, False)) == 1


def test_through_the_one_command(app: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.paths.home is not None
    assert main(["preview", "--home", app.paths.home]) == 0
    assert "nothing waits" in capsys.readouterr().out
    assert main(["preview", "--home", app.paths.home, "--app", "ghost"]) == 2


def keep(app: Shop, item: Item) -> None:
    journal = app.journal
    Records(journal).save(Kept((item.raw,), 2))
    journal.close()


def test_what_no_record_lists_waits_and_what_it_revokes_never_leaves(app: Shop) -> None:
    fill(app)
    assert {one.state for one in seen(app)} == {PLANNED}, "no record was asked for yet"
    keep(app, sign_record([], bytes(32), time=1, expires=TIME_MAX))
    assert {(one.state, one.reason) for one in seen(app)} == {(WAITS, "unlisted")}
    revoked = {"view": Revoked(0, "It was wrong.")}
    listed = [app.catalog.id]
    keep(app, sign_record(listed, bytes(32), time=2, expires=TIME_MAX, revoked=revoked))
    found = {(one.type, one.state, one.reason) for one in seen(app)}
    assert ("view", NEVER, "revoked") in found
    assert ("visit", PLANNED, "") in found
    assert "it never leaves, and is dropped when it is due" in run(app, "--brief").output
