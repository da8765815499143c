"""Two copies of one outbox: a cloned machine image, a restored backup, a synchronised home."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from methrics.node.clock import ManualClock
from methrics.node.outbox.erasures import Erasures
from methrics.node.outbox.rows import Receipt
from methrics.node.outbox.tables import STEPS
from methrics.node.paths import user_paths
from methrics.node.report.erasure import sign_all
from methrics.node.report.identity import NO_SALT, SALT_SIZE, report_seed
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report

if TYPE_CHECKING:
    from conftest import Post, Shop

DAY = 86_400


def copy_of(app: Shop, post: Post, home: Path) -> tuple[Shop, Post]:
    """The same files in another home, at the same time, with the same schedule."""
    assert app.paths.home is not None
    app.recorder.close()
    shutil.copytree(app.paths.home, home)
    app.recorder = app.open()
    clock = ManualClock(app.clock.now())
    copy = type(app)(app.catalog, user_paths(home, policy=app.paths.policy), clock)
    return copy, type(post)(copy)


def live_a_day(app: Shop, post: Post, color: str) -> list[bytes]:
    before = len(post.sent)
    app.recorder.record("view", color=color)
    app.clock.advance(2 * DAY)
    post.publish()
    return post.sent[before:]


def erasures_of(app: Shop, receipts: Sequence[Receipt]) -> list[bytes]:
    seed_of = Erasures(app.journal).seed_of
    draw = random.Random(1).random
    return [one.raw for one in sign_all(receipts, seed_of, now=0, window=0, rng=draw)]


@pytest.mark.shows("METH-4", "NEW-3")
def test_two_copies_never_sign_with_the_same_key(app: Shop, post: Post, tmp_path: Path) -> None:
    app.allow()
    live_a_day(app, post, "red")
    other, other_post = copy_of(app, post, tmp_path / "copy")
    one, two = live_a_day(app, post, "red"), live_a_day(other, other_post, "blue")
    assert len(one) == len(two) == 1
    assert split(one[0]).key != split(two[0]).key
    for shop in (app, other):
        receipts = shop.journal.receipts()
        assert [receipt.key_index for receipt in receipts] == [1, 0], "the indices are the same"
        erased = erasures_of(shop, receipts)
        assert [split(raw).key for raw in erased] == [split(each.raw).key for each in receipts]


def test_a_restored_backup_makes_other_reports(app: Shop, post: Post, tmp_path: Path) -> None:
    app.allow()
    app.recorder.record("view", color="red")
    backup, backup_post = copy_of(app, post, tmp_path / "backup")
    for shop, mail in ((app, post), (backup, backup_post)):
        shop.clock.advance(2 * DAY)
        mail.publish()
    assert split(post.sent[0]).payload == split(backup_post.sent[0]).payload
    assert split(post.sent[0]).key != split(backup_post.sent[0]).key


def test_a_journaled_report_leaves_both_copies_as_one(
    app: Shop, post: Post, tmp_path: Path
) -> None:
    app.allow()
    app.recorder.record("view", color="red")
    app.clock.advance(2 * DAY)
    post.cut = True
    post.publish()
    other, other_post = copy_of(app, post, tmp_path / "copy")
    for shop, mail in ((app, post), (other, other_post)):
        mail.cut = False
        shop.clock.advance(DAY)
        mail.publish()
    assert post.sent == other_post.sent
    assert len(post.sent) == 1


def test_the_salt_is_kept_in_the_receipt_and_nowhere_else(app: Shop, post: Post) -> None:
    app.allow()
    for color in ("red", "blue"):
        live_a_day(app, post, color)
    salts = [one.salt for one in app.journal.receipts()]
    assert [len(salt) for salt in salts] == [SALT_SIZE] * 2
    assert len({*salts, bytes(SALT_SIZE)}) == 3
    assert not any(salt in raw for salt in salts for raw in post.sent)


def test_reports_of_an_earlier_layout_can_still_be_erased(app: Shop) -> None:
    path = app.paths.outbox(app.namespace)
    os.makedirs(os.path.dirname(path))
    seed = b"s" * 32
    payload = encode_report(Report(app.catalog.id, "view", app.clock.now(), {"color": "red"}))
    raw = seal(Kind.REPORT, payload, report_seed(seed, 4, NO_SALT))
    con = sqlite3.connect(path)
    con.executescript("".join(STEPS[:3]))
    con.execute("PRAGMA user_version = 3")
    con.execute("INSERT INTO meta VALUES ('seed', ?), ('next_index', 5)", (seed,))
    con.execute(
        "INSERT INTO report VALUES (4, ?, ?, 1, 'view', 0, 0, 0, 'relay', 'acknowledged', 1)",
        (split(raw).id, raw),
    )
    con.commit()
    con.close()
    receipts = app.journal.receipts()
    assert [one.salt for one in receipts] == [NO_SALT]
    assert split(erasures_of(app, receipts)[0]).key == split(raw).key
