"""An entry that is killed, at any moment, brings every box that it took to its exit, and the answer
to the app."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from methrics.node.relay.spread_file import NAME

pytestmark = pytest.mark.wire

KILLS = 25

ENTRY = """
import random, sys, time
import trio
from methrics.node.clock import Clock
from methrics.node.ohttp.inner import BOX_SIZE
from methrics.node.relay import spreader, upkeep
from methrics.node.relay.doors import BOX_ANSWER_SIZE, DoorReply
from methrics.node.relay.pool_shares import Submitter
from methrics.node.relay.spread_file import SpreadFile
from methrics.node.relay.spreader import Spreader, SpreadLimits
from methrics.node.relay.visits import VisitBox, VisitRequest, handle_of

spreader.TICK, upkeep.TIDY_EVERY = 0.01, 0.05
path, first, goes_on = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "on"

def visit(number):
    draw = random.Random(number)
    boxes = tuple(
        VisitBox(draw.randbytes(32), (b"%d %d " % (number, at)).ljust(BOX_SIZE, b"."))
        for at in range(16)
    )
    return VisitRequest(boxes, tuple(handle_of(one.box) for one in boxes) * 2)

async def bring(exit_id, boxes):
    await trio.sleep(random.random() / 50)
    for box in boxes:
        number, at = box.split()[:2]
        assert visit(int(number)).boxes[int(at)].exit == exit_id
        print("brought", int(number), int(at), flush=True)
    return DoorReply(tuple(box[:16] * (BOX_ANSWER_SIZE // 16) for box in boxes))

async def main():
    limits = SpreadLimits(spread=0.2, per_minute=10**9)
    entry = Spreader(
        bring, SpreadFile(path), clock=Clock(), rng=random.Random(), durable=True, limits=limits
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(entry.run)
        number = first
        while goes_on:
            reply = await entry.visit(Submitter(b"app", b"network"), visit(number))
            assert reply.again is None
            print("took", number, flush=True)
            number += 1
        while entry.waiting:
            await trio.sleep(0.05)
        for number in range(first):
            reply = await entry.visit(Submitter(b"app", b"network"), visit(number))
            for at, answer in enumerate(reply.answers[:16]):
                box = visit(number).boxes[at].box
                print("answered" if answer[:16] == box[:16] else "silent", number, at, flush=True)
        nursery.cancel_scope.cancel()
    await entry.close()

trio.run(main)
"""


def lines_of(path: Path, first: int, how: str, kill_after: float | None = None) -> list[list[str]]:
    """Run an entry that goes on from the visit `first`, and kill it so many seconds after its first
    line; return the lines that it printed."""
    command = [sys.executable, "-P", "-c", ENTRY, str(path), str(first), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = child.stdout.readline()
        timer = threading.Timer(kill_after or 120, child.kill)
        timer.start()
        said += child.stdout.read()
        timer.cancel()
        timer.join()
    assert kill_after or child.returncode == 0
    return [line.split() for line in said[: said.rfind("\n") + 1].splitlines()]


@pytest.mark.slow
@pytest.mark.shows("NEW-6")
def test_an_entry_that_is_killed_at_any_moment_brings_what_it_took(tmp_path: Path) -> None:
    path, draw = tmp_path / NAME, random.Random(11)
    took: set[int] = set()
    brought: set[tuple[int, int]] = set()
    for _ in range(KILLS):
        first = max(took, default=-1) + 1
        for word, *numbers in lines_of(path, first, "on", draw.random()):
            if word == "took":
                took.add(int(numbers[0]))
            else:
                brought.add((int(numbers[0]), int(numbers[1])))
    answered: set[tuple[int, int]] = set()
    for word, *numbers in lines_of(path, max(took) + 1, "end"):
        assert word in ("brought", "answered", "silent")
        found = brought if word == "brought" else answered
        if word != "silent":
            found.add((int(numbers[0]), int(numbers[1])))
    wanted = {(number, at) for number in took for at in range(16)}
    assert len(took) > KILLS
    assert wanted <= brought
    assert wanted <= answered
