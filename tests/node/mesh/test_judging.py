"""What is judged at once is shared fairly, and what finds no place is asked for again."""

from __future__ import annotations

import pytest
from mesh_making import Driver, message

from methrics.node.mesh.judging import Judging, Judgings
from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import UNSEEN
from methrics.node.mesh.outputs import Judge
from methrics.node.mesh.rpc import Message, Rpc
from methrics.node.mesh.waiting import Account
from methrics.schema.wire.verdict import Decision


def flood(driver: Driver, name: str, count: int = 256) -> list[Judge]:
    """Let one frame of new contents arrive; return what of it is judged."""
    junk = tuple(message(f"{name}-{driver.now}-{at}") for at in range(count))
    driver.say(name, Rpc(messages=junk))
    return driver.judged()


def taken(judgings: Judgings, account: Account, count: int = 100) -> int:
    """How many contents of one peer are taken in."""
    for at in range(count):
        if not judgings.fits(account):
            return at
        one = message(f"{account.peer}-{at}-{len(judgings)}")
        judgings.add(one.content, Judging(one, account, 0.0, 0.0, {}))
    return count


def test_a_peer_alone_gets_its_share_and_the_share_shrinks_as_others_come() -> None:
    judgings = Judgings(MeshSettings())
    found = [taken(judgings, Account(f"peer{at}", b"")) for at in range(300)]
    assert found[0] == 16
    assert min(found) >= 1
    assert found[-1] <= 2


def test_one_network_gets_its_portion() -> None:
    judgings = Judgings(MeshSettings())
    assert sum(taken(judgings, Account(f"peer{at}", b"crowd")) for at in range(300)) == 128
    assert taken(judgings, Account("honest", b"home")) > 8


def test_direct_peers_have_places_of_their_own() -> None:
    judgings = Judgings(MeshSettings())
    for at in range(1024):
        taken(judgings, Account(f"peer{at}", b""))
    assert len(judgings) == 1024
    assert taken(judgings, Account("friend", b"home", direct=True)) >= 64
    assert taken(judgings, Account("other friend", b"home", direct=True)) >= 32


def test_a_place_is_free_again_after_the_verdict() -> None:
    driver = Driver()
    driver.crowd(1)
    for _ in range(5):
        judged = flood(driver, "in0")
        assert 8 < len(judged) <= 16
        for judge in judged:
            driver.mesh.verdict(judge.content, Decision.IGNORE, driver.now)
        driver.now += 1
    assert driver.mesh._delivery.judging._strangers._peers == {}


@pytest.mark.parametrize("direct", [False, True])
def test_attack_a_flood_of_contents_to_judge_leaves_places_for_others(direct: bool) -> None:
    driver = Driver()
    for name in driver.crowd(24):
        flood(driver, name)
    driver.connect("honest", direct=direct)
    assert driver.deliver("honest", message(), None) == [
        Judge(message().content, message(), "honest")
    ]


def test_attack_an_answer_that_finds_no_place_breaks_no_promise_and_is_asked_for_again() -> None:
    driver = Driver(MeshSettings(judging_max=4))
    driver.crowd(4)
    driver.connect("honest")
    for beat in range(40):
        one = message(f"honest{beat}")
        judged = [judge for at in range(4) for judge in flood(driver, f"in{at}", 2)]
        assert driver.offer("honest", one.content) == {one.content}
        driver.deliver("honest", one, None)
        for judge in judged:
            driver.mesh.verdict(judge.content, Decision.IGNORE, driver.now)
        asked = False
        for _ in range(3):
            driver.beat()
            asked |= one.content in driver.asked("honest")
        assert asked
        assert driver.deliver("honest", one)
    assert driver.mesh.statistics().promises_broken == 0
    assert driver.mesh.score("honest") > 0


def test_a_peer_whose_messages_are_still_judged_breaks_no_promise_but_others_are_asked() -> None:
    """The shell may read its answer only after that."""
    driver = Driver()
    driver.crowd(2)
    driver.deliver("in0", message("slow"), None)
    one = message()
    for name in ("in0", "in1"):
        driver.offer(name, one.content)
    driver.beat(3)
    assert driver.asked("in1") == {one.content}
    assert driver.mesh.statistics().promises_broken == 0
    driver.beat(3)
    assert driver.mesh.statistics().promises_broken == 1


def test_what_was_limited_is_asked_for_a_few_times_only() -> None:
    driver = Driver(MeshSettings(judging_max=1))
    driver.crowd(2)
    driver.deliver("in1", message("slow"), None)
    one = message()
    driver.deliver("in0", one)
    times = 0
    for _ in range(200):
        driver.beat()
        if driver.asked("in0"):
            times += 1
            driver.deliver("in0", one)
    assert times == driver.settings.retries_max
    assert len(driver.mesh._promises) == 0


def test_what_a_flooder_has_asked_for_again_takes_half_of_its_promises_at_most() -> None:
    driver = Driver()
    driver.crowd(1)
    for _ in range(10):
        flood(driver, "in0")
        driver.now += 0.01
    assert len(driver.mesh._promises) == driver.settings.promises_unknown // 2
    driver.mesh.disconnected("in0", driver.now)
    driver.beat()
    assert len(driver.mesh._promises) == 0


def test_what_could_not_be_judged_is_asked_for_again_of_who_sent_it() -> None:
    for end in ("verdict", "time"):
        driver = Driver(MeshSettings(judging_time=5.0))
        driver.crowd(3)
        driver.deliver("in0", message(), None)
        driver.deliver("in1", message(), None)
        driver.mesh.disconnected("in0", driver.now)
        if end == "verdict":
            driver.mesh.verdict(message().content, UNSEEN, driver.now)
            driver.beat(2)
        else:
            driver.beat(7)
        assert driver.asked("in1") == {message().content}
        assert driver.deliver("in1", message())
        assert driver.mesh.statistics().accepted == 1


def test_attack_a_message_that_no_judge_survives_is_not_asked_for_for_ever() -> None:
    driver = Driver()
    names = driver.crowd(3)
    poison = message("poison")
    for name in names:
        driver.deliver(name, poison, None)
    driver.mesh.verdict(poison.content, UNSEEN, driver.now)
    judged = 0
    for _ in range(300):
        driver.beat()
        for name in [name for name in names if driver.asked(name)]:
            judged += bool(driver.deliver(name, poison, UNSEEN))
    assert judged <= driver.settings.retries_max * len(names)
    assert len(driver.mesh._promises) == 0


def test_a_forged_copy_keeps_the_place_of_who_sent_it_while_another_is_judged() -> None:
    driver = Driver()
    driver.crowd(2)
    forged = Message(b"s", message().data, b"12345678", message().topic, b"forged")
    driver.deliver("in0", forged, None)
    driver.deliver("in1", message(), None)
    driver.mesh.forged("in0", message().content, driver.now)
    judging = driver.mesh._delivery.judging
    assert judging.holds("in0")
    assert not judging.holds("in1")
    driver.mesh.verdict(message().content, Decision.ACCEPT, driver.now)
    assert len(judging) == 0
    assert not judging.holds("in0")
