"""A reset renews the seed and keeps receipts; a burn destroys them, in the file and beside it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from methrics.aggregate.cli.main import main
from methrics.node.cli.erase import reset
from methrics.node.mine.reset import Burned, burn, renew, to_burn
from methrics.node.outbox.erasures import Erasures
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import week_start
from methrics.node.outbox.rows import Receipt
from methrics.node.report.erasure import sign_all
from methrics.schema.errors import LocalError, StoreError
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.items import decode_erasure, decode_report

if TYPE_CHECKING:
    from conftest import Post, Shop

DAY = 86_400


def run(app: Shop, *arguments: str, answer: str = "") -> Result:
    assert app.paths.home is not None
    return CliRunner().invoke(reset, [*arguments, "--home", app.paths.home], input=answer)


def empty_report(index: int, catalog: int) -> Receipt:
    """A journaled report of no content."""
    return Receipt(
        key_index=index,
        salt=bytes(16),
        id=index.to_bytes(32, "big"),
        raw=b"",
        catalog=catalog,
        type="view",
        time=0,
        made=0,
        due=0,
        route="relay",
    )


def visit(app: Shop, post: Post, color: str = "red") -> Receipt:
    """Records and publishes one report."""
    app.allow()
    assert app.recorder.record("visit", color=color)
    post.live(5 * DAY)
    return app.journal.receipts()[0]


def files(app: Shop) -> bytes:
    """Every byte of every file of this app."""
    return b"".join(
        path.read_bytes() for path in sorted(Path(app.paths.data).rglob("*")) if path.is_file()
    )


@pytest.mark.shows("MARS-7")
def test_mars_7_a_new_seed_and_a_new_week(app: Shop, post: Post) -> None:
    visit(app, post)
    journal = app.journal
    old = journal.identity(app.clock.now())
    app.clock.advance(70 * DAY)
    assert run(app).exit_code == 0
    new = journal.identity(app.clock.now())
    assert new.seed != old.seed
    assert new.install_week == week_start(app.clock.now()) > old.install_week
    assert new.next_index == old.next_index, "a key index is never used again"


def test_flags_begin_anew_and_nothing_leaves_sooner(app: Shop, post: Post) -> None:
    visit(app, post)
    pace = app.journal.paces()["visit"]
    renew(app.journal)
    assert app.journal.paces()["visit"] == replace(pace, last=0)
    app.recorder.record("visit", color="red")
    post.live(5 * DAY)
    newest = app.journal.receipts()[0]
    assert decode_report(split(newest.raw).payload).values["daily"] is True
    assert newest.made >= pace.next


def test_reports_of_every_earlier_self_can_still_be_erased(app: Shop, post: Post) -> None:
    for color in ("red", "green", "red", "green"):
        visit(app, post, color)
        renew(app.journal)
        renew(app.journal)  # a second one, before any report, changes nothing
    journal = app.journal
    receipts = journal.receipts()
    assert len(receipts) == 4
    assert len({Erasures(journal).seed_of(one.key_index) for one in receipts}) == 4
    erasures = Erasures(journal)
    signed = sign_all(receipts, erasures.seed_of, now=0, window=0, rng=random.Random(1).random)
    erasures.request(signed, app.clock.now())
    post.live(DAY)
    asked = [split(raw) for raw in post.erasures]
    assert {decode_erasure(one.payload).report_id(one.key) for one in asked} == {
        one.id for one in receipts
    }
    assert {one.key for one in asked} == {split(one.raw).key for one in receipts}


def test_a_seed_is_kept_for_its_receipts_alone(app: Shop, post: Post) -> None:
    visit(app, post)
    journal = app.journal
    renew(journal)
    assert journal.database.rows("SELECT count(*) FROM old_seed") == [(1,)]
    visit(app, post)
    journal.database.execute("DELETE FROM report WHERE idx = 0")
    renew(journal)
    assert journal.database.rows("SELECT below FROM old_seed") == [(2,)]


def test_what_waits_leaves_as_the_new_one(app: Shop, post: Post) -> None:
    visit(app, post)
    app.recorder.record("view", color="red")
    renew(app.journal)
    post.live(DAY)
    assert [split(raw).kind for raw in post.sent] == [Kind.REPORT] * 2


def test_a_publisher_at_work_does_not_sign_as_the_old_one(app: Shop, post: Post) -> None:
    app.allow()
    app.recorder.record("view", color="red")
    journal, other = app.journal, app.journal
    now = app.clock.now() + DAY
    pending = journal.pending(now)
    journal.identity(now)
    renew(other)
    made = empty_report(0, pending.rows[0].catalog)
    with pytest.raises(StoreError, match="changed"):
        journal.journal([made], pending.rows, [], token=pending.token)


# -- burning -------------------------------------------------------------------------------------


def test_burned_means_not_a_byte_is_left(app: Shop, post: Post) -> None:
    left = visit(app, post)
    renew(app.journal)
    newer = visit(app, post)
    journal = app.journal
    erasures = Erasures(journal)
    now = app.clock.now()
    signed = sign_all([left], erasures.seed_of, now=now, window=DAY, rng=lambda: 0.9)
    erasures.request(signed, now)
    seeds = [erasures.seed_of(one.key_index) for one in (left, newer)]
    app.recorder.record("view", color="red")
    journal.close()
    Path(journal.path + ".damaged").write_bytes(seeds[0])
    secrets = [*seeds, left.id, left.raw, newer.id, newer.raw, signed[0].raw]
    assert all(secret in files(app) for secret in secrets)
    reader = app.open()  # an app that goes on
    result = run(app, "--burn", "--yes")
    assert result.exit_code == 0, result.output
    assert "2 receipts burned, 1 erasure dropped" in result.output
    found = files(app)
    assert [secret for secret in secrets if secret in found] == []
    assert len(app.journal.pending(app.clock.now() + DAY).rows) == 1, "pending rows stay"
    reader.close()


def test_after_burning_nobody_can_erase_and_a_new_self_can(app: Shop, post: Post) -> None:
    visit(app, post)
    journal = app.journal
    burn(journal)
    with pytest.raises(LocalError) as caught:
        Erasures(journal).seed_of(0)
    assert caught.value.code == "no-seed"
    newer = visit(app, post)
    assert newer.key_index == 1, "key indexes continue"
    assert len(Erasures(journal).seed_of(1)) == 32


def test_burning_says_what_it_costs_and_asks(app: Shop, post: Post) -> None:
    visit(app, post)
    refused = run(app, "--burn", answer="n\n")
    assert refused.exit_code != 0
    assert "1 report that left" in refused.output
    assert "neither you nor anyone else can find or erase them as yours" in refused.output
    assert to_burn(app.journal) == Burned(receipts=1, unsent=0, erasures=0)
    assert run(app, "--burn", answer="y\n").exit_code == 0
    assert to_burn(app.journal) == Burned(receipts=0, unsent=0, erasures=0)


def test_burning_gives_up_what_has_not_left(app: Shop, post: Post) -> None:
    app.allow()
    app.recorder.record("view", color="red")
    app.clock.advance(DAY)
    post.cut = True
    post.publish()
    assert "1 report not sent yet: dropped" in run(app, "--burn", answer="n\n").output
    assert run(app, "--burn", "--yes").exit_code == 0
    post.cut = False
    post.live(DAY)
    assert post.sent == []


def test_attack_the_prefix_of_an_app_burns_nothing(app: Shop, post: Post) -> None:
    kept = visit(app, post)
    assert app.paths.home is not None
    assert main(["reset", "--app", "sho", "--burn", "--yes", "--home", app.paths.home]) == 2
    assert app.journal.receipts() == [kept]


def test_nothing_to_reset(app: Shop) -> None:
    assert "nothing to reset" in run(app).output
    assert run(app, "--app", "ghost").exit_code != 0
    assert not Path(app.paths.data).exists()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["use", "renew", "forget"]), max_size=12), st.data())
def test_each_kept_receipt_has_the_seed_it_was_made_with(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "outbox.db"
    journal = Journal(str(path))
    made_with: dict[int, bytes] = {}
    for step in steps:
        if step == "use":
            known = journal.identity(DAY)
            report = empty_report(known.next_index, 1)
            journal.journal([report], [], [], token=journal.pending(0).token)
            made_with[known.next_index] = known.seed
        elif step == "renew":
            renew(journal)
        elif made_with:
            gone = data.draw(st.sampled_from(sorted(made_with)))
            journal.database.execute("DELETE FROM report WHERE idx = ?", (gone,))
            del made_with[gone]
    erasures = Erasures(journal)
    assert {index: erasures.seed_of(index) for index in made_with} == made_with
    journal.close()
