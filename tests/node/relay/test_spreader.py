"""Boxes of visits wait on disk, and go to their exits at random moments; answers wait for apps."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from tests.node.relay_making import TrioClock
from trio.testing import MockClock

from methrics.node.ohttp.inner import BOX_SIZE
from methrics.node.relay.doors import BOX_ANSWER_SIZE, BOXES_MAX, DoorReply
from methrics.node.relay.pool_shares import Submitter
from methrics.node.relay.spread_file import (
    ANSWER_DAYS,
    NAME,
    Spread,
    SpreadChanges,
    SpreadFile,
    Told,
)
from methrics.node.relay.spreader import (
    RETRY_LEAST,
    TICK,
    Spreader,
    SpreadLimits,
)
from methrics.node.relay.state_database import MEMORY
from methrics.node.relay.upkeep import TIDY_EVERY
from methrics.node.relay.visits import VISIT_BOXES, VisitBox, VisitRequest, handle_of
from methrics.schema.errors import StoreError
from methrics.schema.wire.limits import DAY

HOUR = 3600.0
ANNA, BERT = Submitter(b"anna", b"north"), Submitter(b"bert", b"south")
EXITS = [bytes([number]) * 32 for number in range(3)]


def answer_to(box: bytes) -> bytes:
    """What the exits here answer to a box."""
    return handle_of(b"answer to " + box)[:16] * (BOX_ANSWER_SIZE // 16)


class Exits:
    """Exits that note which boxes come when. Those in `dead` give no answer."""

    def __init__(self) -> None:
        self.came: list[tuple[float, bytes, tuple[bytes, ...]]] = []
        self.dead: set[bytes] = set()
        self.unopened: set[bytes] = set()
        self.takes = 0.0

    async def bring(self, exit_id: bytes, boxes: Sequence[bytes]) -> DoorReply:
        assert 1 <= len(boxes) <= BOXES_MAX
        await trio.sleep(self.takes)
        if exit_id in self.dead:
            return DoorReply(again=60)
        self.came.append((trio.current_time(), exit_id, tuple(boxes)))
        return DoorReply(tuple(b"" if one in self.unopened else answer_to(one) for one in boxes))

    @property
    def boxes(self) -> list[bytes]:
        return [box for _, _, boxes in self.came for box in boxes]


def visit(number: int, asked: Sequence[bytes] | None = None) -> VisitRequest:
    """The visit with this number: 16 boxes for three exits. `asked`: by default its own boxes."""
    boxes = [
        VisitBox(EXITS[at % 3], (b"%d %d " % (number, at) * BOX_SIZE)[:BOX_SIZE])
        for at in range(VISIT_BOXES)
    ]
    handles = [handle_of(one.box) for one in boxes] if asked is None else list(asked)
    return VisitRequest(tuple(boxes), tuple(handles + [bytes(32)] * (32 - len(handles))))


def answers_of(request: VisitRequest) -> tuple[bytes, ...]:
    return tuple(answer_to(one.box) for one in request.boxes)


@asynccontextmanager
async def spreading(
    exits: Exits, path: str | Path = MEMORY, *, seed: int = 1, **limits: float
) -> AsyncIterator[Spreader]:
    spreader = Spreader(
        exits.bring,
        SpreadFile(str(path)),
        clock=TrioClock(),
        rng=random.Random(seed),
        durable=False,
        limits=SpreadLimits(**limits),  # type: ignore[arg-type]
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spreader.run)
        yield spreader
        nursery.cancel_scope.cancel()
    await spreader.close()


async def test_boxes_are_spread_and_answers_are_told_later(autojump_clock: MockClock) -> None:
    exits = Exits()
    async with spreading(exits) as spreader:
        request = visit(1)
        reply = await spreader.visit(ANNA, request)
        assert reply.again is None
        assert set(reply.answers) == {b""}
        assert (spreader.waiting, exits.came) == (VISIT_BOXES, [])
        await trio.sleep(7 * HOUR)
        assert spreader.waiting == 0
        assert sorted(exits.boxes) == sorted(one.box for one in request.boxes)
        later = await spreader.visit(ANNA, visit(2, request.asked[:16]))
        assert later.answers[:16] == answers_of(request)
        assert set(later.answers[16:]) == {b""}
    moments = [at for at, _, _ in exits.came]
    assert max(moments) - min(moments) > 3 * HOUR
    assert len(exits.came) > VISIT_BOXES // 2


async def test_each_box_goes_to_its_exit(autojump_clock: MockClock) -> None:
    exits = Exits()
    async with spreading(exits) as spreader:
        requests = [visit(number) for number in range(8)]
        for request in requests:
            await spreader.visit(ANNA, request)
        await trio.sleep(7 * HOUR)
    wanted = {(one.exit, one.box) for request in requests for one in request.boxes}
    assert {(exit_id, box) for _, exit_id, boxes in exits.came for box in boxes} == wanted


async def test_boxes_of_several_apps_for_one_exit_come_together(autojump_clock: MockClock) -> None:
    exits = Exits()
    async with spreading(exits, spread=2 * TICK) as spreader:
        for number in range(20):
            await spreader.visit(ANNA if number % 2 else BERT, visit(number))
        await trio.sleep(10 * TICK)
    assert len(exits.boxes) == 20 * VISIT_BOXES
    assert len(exits.came) <= 20
    mixed = [{box.split()[0] for box in boxes} for _, _, boxes in exits.came]
    assert max(map(len, mixed)) > 10


async def test_without_spreading_the_reply_holds_the_answers(autojump_clock: MockClock) -> None:
    exits = Exits()
    exits.takes = 3.0
    async with spreading(exits, spread=0) as spreader:
        request = visit(1)
        reply = await spreader.visit(ANNA, request)
        assert reply.answers[:16] == answers_of(request)
        assert trio.current_time() < 10


async def test_without_spreading_a_dead_exit_does_not_hold_the_reply(
    autojump_clock: MockClock,
) -> None:
    exits = Exits()
    exits.dead = {EXITS[0]}
    async with spreading(exits, spread=0) as spreader:
        reply = await spreader.visit(ANNA, visit(1))
        assert trio.current_time() < 1
        assert [not one for one in reply.answers[:16]] == [at % 3 == 0 for at in range(16)]
        assert spreader.waiting == 6


async def test_an_exit_that_was_dead_gets_its_boxes_later(autojump_clock: MockClock) -> None:
    exits = Exits()
    exits.dead = {EXITS[0]}
    async with spreading(exits, spread=0) as spreader:
        request = visit(1)
        await spreader.visit(ANNA, request)
        exits.dead.clear()
        await trio.sleep(2 * RETRY_LEAST)
        reply = await spreader.visit(ANNA, visit(2, request.asked[:16]))
        assert reply.answers[:16] == answers_of(request)
    assert len(exits.boxes) == len(set(exits.boxes))


async def test_boxes_for_a_dead_exit_are_dropped_in_the_end(autojump_clock: MockClock) -> None:
    exits = Exits()
    exits.dead = set(EXITS)
    async with spreading(exits) as spreader:
        await spreader.visit(ANNA, visit(1))
        await trio.sleep(DAY)
        assert spreader.waiting == VISIT_BOXES
        await trio.sleep(2 * DAY)
        assert spreader.waiting == 0
    assert exits.came == []


async def test_a_box_that_does_not_open_has_no_answer_and_is_not_tried_again(
    autojump_clock: MockClock,
) -> None:
    exits = Exits()
    request = visit(1)
    exits.unopened = {request.boxes[0].box}
    async with spreading(exits, spread=0) as spreader:
        reply = await spreader.visit(ANNA, request)
        assert reply.answers[:16] == (b"", *answers_of(request)[1:])
        await trio.sleep(DAY)
        assert spreader.waiting == 0
    assert exits.boxes.count(request.boxes[0].box) == 1


async def test_attack_a_replayed_visit_brings_no_box_twice(autojump_clock: MockClock) -> None:
    exits = Exits()
    async with spreading(exits) as spreader:
        for _ in range(5):
            await spreader.visit(ANNA, visit(1))
            await trio.sleep(2 * HOUR)
        assert spreader.waiting == 0
    assert len(exits.boxes) == VISIT_BOXES


async def test_a_reply_that_was_lost_can_be_asked_for_again(autojump_clock: MockClock) -> None:
    exits = Exits()
    async with spreading(exits, spread=0) as spreader:
        request = visit(1)
        first = await spreader.visit(ANNA, request)
        await trio.sleep(TIDY_EVERY * 2)
        again = await spreader.visit(ANNA, visit(2, request.asked[:16]))
        assert again.answers[:16] == first.answers[:16] == answers_of(request)


async def test_answers_are_kept_for_days_and_not_for_ever(autojump_clock: MockClock) -> None:
    exits = Exits()
    async with spreading(exits) as spreader:
        request = visit(1)
        await spreader.visit(ANNA, request)
        await trio.sleep((ANSWER_DAYS - 2) * DAY)
        assert spreader._answers == VISIT_BOXES
        await trio.sleep(5 * DAY)
        await spreader.tidy()
        assert spreader._answers == 0


async def test_attack_one_network_cannot_fill_the_disk(autojump_clock: MockClock) -> None:
    exits = Exits()
    async with spreading(exits, boxes=64 * VISIT_BOXES) as spreader:
        replies = [await spreader.visit(ANNA, visit(number)) for number in range(20)]
        taken = [one.again is None for one in replies]
        assert taken == [True] * 8 + [False] * 12
        assert spreader.refused == 12 * VISIT_BOXES
        assert (await spreader.visit(BERT, visit(99))).again is None
        assert spreader.waiting == 9 * VISIT_BOXES
        await trio.sleep(13 * HOUR)
        assert (await spreader.visit(ANNA, visit(21))).again is None


async def test_attack_exits_that_never_answer_do_not_fill_the_disk(
    autojump_clock: MockClock,
) -> None:
    """One network brings as many boxes as it may, for days, all for exits of its own that are
    silent. Half of the room stays for others."""
    exits = Exits()
    exits.dead = set(EXITS)
    async with spreading(exits, spread=HOUR, boxes=64 * VISIT_BOXES) as spreader:
        for number in range(200):
            await spreader.visit(ANNA, visit(number))
            await trio.sleep(600)
        assert 8 * VISIT_BOXES < spreader.waiting <= 40 * VISIT_BOXES
        assert spreader.lost > 0
        exits.dead.clear()
        assert (await spreader.visit(BERT, visit(999))).again is None
        await trio.sleep(3 * HOUR)
        assert spreader.waiting == 0


def test_times_of_a_clock_that_was_ahead_are_brought_back() -> None:
    file, ahead = SpreadFile(MEMORY), 30 * DAY
    box = Spread(bytes(32), EXITS[0], b"box", ahead, ahead // DAY + 1)
    file.write([SpreadChanges(puts=[box], told=[Told(bytes(32), b"answer", 40)])])
    file.tidy(5 * DAY)
    assert file.due(5 * DAY, 10) == [box._replace(leaves=5 * DAY, until=6)]
    file.tidy(16 * DAY)
    assert file.counts() == (0, 0)


async def test_attack_one_network_cannot_flood_the_entry(autojump_clock: MockClock) -> None:
    async with spreading(Exits(), per_minute=10 * VISIT_BOXES) as spreader:
        replies = [await spreader.visit(ANNA, visit(number)) for number in range(12)]
        assert [one.again is None for one in replies] == [True] * 10 + [False] * 2
        assert 1 <= (replies[-1].again or 0) <= 60
        assert (await spreader.visit(BERT, visit(50))).again is None


async def test_a_full_entry_still_tells_answers(autojump_clock: MockClock) -> None:
    exits = Exits()
    async with spreading(exits, spread=0, boxes=8 * VISIT_BOXES) as spreader:
        request = visit(1)
        await spreader.visit(ANNA, request)
        reply = await spreader.visit(ANNA, visit(2, request.asked[:16]))
        assert reply.again is not None
        assert reply.answers[:16] == answers_of(request)


async def test_a_restart_goes_on_with_what_waits(autojump_clock: MockClock, tmp_path: Path) -> None:
    exits, request = Exits(), visit(1)
    async with spreading(exits, tmp_path / NAME) as spreader:
        await spreader.visit(ANNA, request)
        await trio.sleep(2 * HOUR)
        assert 0 < spreader.waiting < VISIT_BOXES
    async with spreading(exits, tmp_path / NAME, seed=2) as spreader:
        await trio.sleep(6 * HOUR)
        assert spreader.waiting == 0
        reply = await spreader.visit(ANNA, visit(2, request.asked[:16]))
        assert reply.answers[:16] == answers_of(request)
    assert sorted(exits.boxes) == sorted(one.box for one in request.boxes)


async def test_attack_a_thief_of_the_disk_finds_no_address_and_no_order(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with spreading(Exits(), tmp_path / NAME) as spreader:
        for number in range(6):
            await spreader.visit(Submitter(b"a-name", b"an-origin"), visit(number))
            await trio.sleep(TIDY_EVERY)
        await spreader.tidy()
        found = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        for secret in (b"a-name", b"an-origin"):
            assert secret not in found
        con = sqlite3.connect(tmp_path / NAME)
        rows = con.execute("SELECT handle, until FROM box").fetchall()
        columns = {row[1] for table in ("box", "answer") for row in _columns(con, table)}
        con.close()
        assert columns == {"handle", "exit", "box", "leaves", "until", "answer"}
        assert {until for _, until in rows} <= {TrioClock().now() // DAY + 1}


def _columns(con: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    return con.execute(f"PRAGMA table_info({table})").fetchall()


async def test_a_failing_disk_refuses_boxes_and_ends_nothing(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exits = Exits()
    async with spreading(exits, tmp_path / NAME) as spreader:
        con = spreader._file._database._con
        (pages,) = con.execute("PRAGMA page_count").fetchone()
        con.execute(f"PRAGMA max_page_count = {pages}")
        reply = await spreader.visit(ANNA, visit(1))
        assert reply.again is not None
        assert spreader.waiting == 0
        assert "disk is full" in caplog.text
        con.execute("PRAGMA max_page_count = 1000000")
        assert (await spreader.visit(ANNA, visit(1))).again is None
        await trio.sleep(7 * HOUR)
    assert len(exits.boxes) == VISIT_BOXES


def test_a_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError) as raised:
        SpreadFile(str(path))
    assert raised.value.code == "rest-damaged"
    assert str(path) in raised.value.message


def test_the_file_keeps_each_box_once() -> None:
    file = SpreadFile(MEMORY)
    box = Spread(bytes(32), EXITS[0], b"box", 10, 1)
    told = Told(bytes(32), b"answer", 3)
    assert file.write([SpreadChanges(puts=[box]), SpreadChanges(puts=[box])]) == (1, 0)
    assert file.due(9, 10) == []
    assert file.due(10, 10) == [box]
    assert file.due(10, 10, {box.handle}) == []
    assert file.next_leaving() == 10
    assert file.next_leaving({box.handle}) is None
    assert file.write([SpreadChanges(drops=[box.handle], told=[told, told])]) == (-1, 1)
    assert file.known([bytes(32), bytes(31)]) == {bytes(32)}
    assert file.answers([bytes(31), bytes(32)]) == [b"", b"answer"]
    file.tidy(3 * DAY)
    assert file.counts() == (0, 1)
    file.tidy(4 * DAY)
    assert file.counts() == (0, 0)
