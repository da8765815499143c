"""Random numbers come from the operating system, never from the generator that the app may seed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from methrics.node.clock import system_entropy, system_rng
from methrics.node.mine.reset import renew

if TYPE_CHECKING:
    from conftest import Post, Shop

DAY = 86_400
DRAWS = 400


@pytest.fixture(autouse=True)
def apps_generator() -> Iterator[None]:
    before = random.getstate()
    yield
    random.setstate(before)


def test_numbers_are_spread_over_the_unit_interval() -> None:
    draw = system_rng()
    numbers = [draw() for _ in range(2000)]
    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) == len(numbers)
    assert {int(number * 8) for number in numbers} == set(range(8))
    assert len(system_entropy(16)) == 16


def test_the_apps_seed_decides_nothing(app: Shop) -> None:
    app.allow()
    sampled = []
    recorder = app.open(sampling={"view": 10})
    for _ in range(DRAWS):
        random.seed(42)
        sampled.append(recorder.record("view", color="red"))
    waiting = app.journal.pending(app.clock.now() + DAY, DRAWS).rows
    assert 0 < len(waiting) < DRAWS, "neither never nor always"
    assert len({row.due for row in waiting}) > 1, "nor always with the same delay"


def test_the_apps_stream_stays_as_it_is(app: Shop, post: Post) -> None:
    random.seed(42)
    before = random.getstate()
    app.allow()
    recorder = app.open(sampling={"view": 10})
    for _ in range(20):
        recorder.record("view", color="red")
        recorder.record("visit", color="red")
        recorder.count("click", color="red")
        with recorder.sequence("buy", color="red") as sequence:
            sequence.step("shown")
    asking = recorder.asking()
    assert [asking.sheet(question) for question in asking.questions(everything=True)]
    app.clock.advance(2 * DAY)
    post.publish()
    assert post.sent
    post.live(2 * DAY)
    renew(app.journal)
    recorder.close()
    assert random.getstate() == before


FORKS = """
import os, random
from methrics.node.clock import system_rng
random.seed(7)
draw = system_rng()
draw()
for _ in range(2):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, repr([draw() for _ in range(4)]).encode())
        os._exit(0)
    os.wait()
    print(os.read(read, 1000).decode())
print([draw() for _ in range(4)])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_parent_and_forked_children_draw_different_numbers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, check=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert len(set(lines)) == 3
