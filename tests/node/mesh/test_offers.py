"""What strangers send or promise takes no offer of honest peers away, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mesh_making import TOPIC, Driver, message

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import UNSEEN, Wait
from methrics.node.mesh.outputs import Judge, Send
from methrics.node.mesh.rpc import IHave, Message, Prune, Rpc
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.schema.wire.verdict import Decision


def forged(at: int = 0) -> Message:
    return message(signature=b"forged%d" % at)


def asked_within(driver: Driver, name: str, content: bytes, beats: int) -> Iterator[bool]:
    """Yield after each beat whether a peer is asked for a content, until it is."""
    for _ in range(beats):
        driver.beat()
        found = content in driver.asked(name)
        yield found
        if found:
            return


def test_more_places_than_connections() -> None:
    settings = GossipSettings()
    mesh, most = settings.mesh, settings.connections_max
    assert min(mesh.offers_max, mesh.resent_peers_max, mesh.backoffs_max) > most
    assert mesh.promises_max > most * mesh.promises_per_peer


def test_attack_a_forged_copy_that_is_being_judged_hides_no_offer() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.connect("honest")
    driver.deliver("in0", forged(), None)
    assert driver.offer("honest", message().content) == set(), "it is being judged"
    driver.mesh.forged("in0", message().content, driver.now)
    driver.take()
    assert driver.asked("honest") == {message().content}


@pytest.mark.parametrize("sybils", [65, 100, 299])
def test_attack_sybils_that_offer_a_message_first_do_not_hide_an_honest_peer(sybils: int) -> None:
    driver = Driver()
    driver.crowd(sybils)
    driver.connect("honest")
    for at in range(sybils):
        driver.offer(f"in{at}", message().content)
    driver.offer("honest", message().content)
    beats = driver.settings.history - driver.settings.window
    assert any(asked_within(driver, "honest", message().content, beats))


def test_attack_peers_that_offer_and_leave_take_no_place() -> None:
    driver = Driver()
    driver.connect("first")
    driver.offer("first", message().content)
    for at in range(driver.settings.offers_max):
        driver.connect(f"gone{at}")
        driver.offer(f"gone{at}", message().content)
        driver.mesh.disconnected(f"gone{at}", driver.now)
    driver.connect("honest")
    driver.offer("honest", message().content)
    driver.beat(3)
    assert driver.asked("honest") == {message().content}


def test_attack_too_many_offers_in_all_keep_out_no_peer_that_is_known() -> None:
    driver = Driver(MeshSettings(offers_total=40, offers_crowded=8))
    driver.crowd(60)
    for at in range(60):
        driver.offer(f"in{at}", message().content)
    promises = driver.mesh._promises
    assert promises.offers == 40
    driver.connect("good")
    driver.deliver("good", message("new"))
    driver.connect("mine", outbound=True)
    driver.connect("friend", direct=True)
    for name in ("good", "mine", "friend", "friend"):
        driver.offer(name, message().content)
    assert promises.offers == 40
    driver.beat(3)
    driver.beat(3)
    assert promises.offers == 40 - 2 - 4
    driver.beat(60)
    assert promises.offers == len(promises) == 0


def test_offers_in_all_are_counted_down_when_peers_leave() -> None:
    driver = Driver()
    for name in driver.crowd(9):
        driver.offer(name, message().content, message("other").content)
    assert driver.mesh._promises.offers == 16
    for at in range(9):
        driver.mesh.disconnected(f"in{at}", driver.now)
    driver.beat(2)
    assert driver.mesh._promises.offers == len(driver.mesh._promises) == 0


def test_attack_peers_that_offer_invented_ids_and_leave_use_up_no_questions() -> None:
    driver = Driver(MeshSettings(promises_max=100))
    for at in range(10):
        driver.connect(f"gone{at}")
        driver.offer(f"gone{at}", *(bytes([at, n]) * 10 for n in range(64)))
        driver.mesh.disconnected(f"gone{at}", driver.now)
    driver.connect("honest")
    assert driver.offer("honest", message().content) == {message().content}


def test_attack_forged_answers_in_turn_delay_a_message_but_do_not_hide_it() -> None:
    """Each sybil answers with a forged copy shortly before its promise would be broken."""
    driver = Driver()
    names = driver.crowd(60)
    driver.connect("honest")
    content = message().content
    for name in (*names, "honest"):
        driver.offer(name, content)
    beats = 0
    asked = {"in0": 0}
    while not (found := content in driver.asked("honest")) and beats < 57:
        driver.beat()
        beats += 1
        asked |= {name: beats for name in names if content in driver.asked(name)}
        late = [name for name, at in asked.items() if beats - at == 2]
        for name in late[:1]:
            outputs = driver.deliver(name, forged(), None)
            if any(isinstance(output, Judge) for output in outputs):
                driver.mesh.forged(name, content, driver.now)
                driver.take()
                asked |= {one: beats for one in names if content in driver.asked(one)}
    assert found or content in driver.asked("honest")
    assert beats <= 30


@pytest.mark.parametrize("end", ["limited", "left"])
def test_attack_true_answers_that_cannot_be_judged_do_not_hide_a_message(end: str) -> None:
    """The sybils keep their judges busy, or leave, so that nothing comes of what they send."""
    driver = Driver()
    names = driver.crowd(60)
    driver.connect("honest")
    content = message().content
    for name in (*names, "honest"):
        driver.offer(name, content)
    if end == "limited":
        for name in names:
            driver.say(name, Rpc(messages=tuple(message(f"{name} {n}") for n in range(16))))
    answer = {"in0"}
    for _ in range(driver.settings.history - driver.settings.window):
        if content in driver.asked("honest"):
            return
        for name in answer:
            judged = driver.deliver(name, message(), None if end == "limited" else UNSEEN)
            assert bool(judged) == (end == "left")
        driver.beat()
        answer = {name for name in names if content in driver.asked(name)}
    pytest.fail("the honest peer was not asked")


def test_attack_a_waiting_message_that_is_dropped_is_asked_of_who_offered_it() -> None:
    driver = Driver(
        MeshSettings(waiting_bytes=40_000, waiting_bytes_per_peer=8000, waiting_least=1000)
    )
    driver.connect("thief", origin=b"crowd")
    driver.connect("honest", origin=b"home")
    driver.deliver("thief", message(), Wait(b"x"))
    assert driver.offer("honest", message().content) == set(), "it waits"
    for at in range(50):
        name = f"other{at}"
        driver.connect(name, origin=b"crowd" if at < 30 else b"net%d" % at)
        driver.deliver(name, message(f"junk{at}", size=1000), Wait(b"y"))
    assert not driver.mesh._delivery.knows(message().content)
    driver.beat(2)
    assert driver.asked("honest") == {message().content}


def test_offers_of_a_waiting_message_outlive_the_wait() -> None:
    driver = Driver()
    driver.connect("sender")
    driver.connect("honest")
    driver.deliver("sender", message(), Wait(b"x"))
    driver.offer("honest", message().content)
    driver.mesh.again(b"x", driver.now)
    driver.mesh.disconnected("sender", driver.now)
    driver.mesh.verdict(message().content, UNSEEN, driver.now)
    driver.take()
    driver.beat(2)
    assert driver.asked("honest") == {message().content}


@pytest.mark.parametrize("state", ["judged", "waiting"])
def test_attack_a_crowd_that_sends_a_message_first_does_not_take_it_away(state: str) -> None:
    """The honest sender is noted although as many others were as are noted."""
    driver = Driver()
    most = driver.settings.forwarders_max
    for at in range(most + 1):
        driver.connect(f"in{at}", origin=b"crowd")
    driver.connect("honest", origin=b"home")
    driver.connect("mine", origin=b"crowd", outbound=True)
    driver.deliver("in0", message(), None)
    if state == "waiting":
        driver.mesh.verdict(message().content, Wait(b"x"), driver.now)
    for name in [*(f"in{at}" for at in range(1, most + 1)), "honest", "mine"]:
        driver.deliver(name, message(), None)
    delivery = driver.mesh._delivery
    content = message().content
    held = delivery.judging.get(content) or delivery.room.get(content)
    assert held is not None
    assert {"honest", "mine"} <= {one.peer for one in held.others} <= set(held.forwarders)
    assert len(held.forwarders) == most
    driver.mesh.disconnected("in60", driver.now)
    driver.connect("late", origin=b"crowd")
    driver.deliver("late", message(), None)
    assert "late" in held.forwarders


def test_attack_messages_that_others_have_sent_cause_few_searches_for_room() -> None:
    driver = Driver(MeshSettings(forwarders_max=4))
    for name in driver.crowd(4, origin=b"crowd"):
        driver.deliver(name, message(), None)
    driver.connect("late", origin=b"crowd")
    driver.connect("home", origin=b"home")
    entry = driver.mesh._delivery.judging.get(message().content)
    assert entry is not None
    for _ in range(100):
        driver.deliver("late", message(), None)
    assert driver.mesh._state.peers["late"].searches == driver.settings.searches_max
    driver.deliver("home", message(), None)
    assert "late" not in entry.forwarders
    assert "home" in entry.forwarders
    driver.beat()
    assert driver.mesh._state.peers["late"].searches == 0


def test_attack_forged_copies_fill_no_place_of_a_true_one() -> None:
    driver = Driver(MeshSettings(offers_max=4))
    driver.crowd(12)
    driver.connect("mine", outbound=True)
    for at in range(12):
        driver.deliver(f"in{at}", forged(at), None)
    driver.deliver("mine", message(), None)
    for at in range(5):
        driver.mesh.forged(f"in{at}", message().content, driver.now)
    driver.take()
    assert driver.asked("mine") == {message().content}


def test_attack_short_lived_peers_that_ask_for_a_message_keep_it_from_nobody() -> None:
    driver = Driver(MeshSettings(resent_peers_max=16))
    driver.mesh.publish(message(), driver.now)
    for at in range(16):
        driver.connect(f"gone{at}")
        assert driver.want(f"gone{at}", message().content)
        driver.mesh.disconnected(f"gone{at}", driver.now)
    for name in driver.crowd(17):
        assert [len(driver.want(name, message().content)) for _ in range(4)] == [1, 1, 1, 0]
    kept = driver.mesh._gossip._recent.get(message().content)
    assert kept is not None
    assert len(kept.resent) == 16


def test_a_retransmission_that_was_not_sent_leaves_nothing_behind() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.mesh.publish(message(), driver.now)
    driver.take()
    driver.want("in0", message().content)
    [send] = [one for one in driver.outputs if isinstance(one, Send)]
    driver.mesh.unsent(send, driver.now)
    kept = driver.mesh._gossip._recent.get(message().content)
    assert kept is not None
    assert kept.resent == {}


def test_attack_peers_that_prune_and_leave_make_this_node_forget_no_backoff() -> None:
    """Without it, this node would graft an honest peer too early, which costs score there."""
    driver = Driver(MeshSettings(backoffs_max=16))
    driver.connect("honest")
    driver.say("honest", Rpc(prune=(Prune(TOPIC, 60),)))
    for at in range(40):
        driver.connect(f"gone{at}")
        driver.say(f"gone{at}", Rpc(prune=(Prune(TOPIC, 60),)))
        driver.mesh.disconnected(f"gone{at}", driver.now)
    for _ in range(60):
        driver.beat()
        assert driver.grafts() == set()
    driver.beat(5)
    assert driver.members() == {"honest"}


def test_attack_peers_that_misbehave_and_leave_take_no_earned_score_away() -> None:
    driver = Driver(MeshSettings(retained_max=16))
    driver.connect("honest")
    for at in range(10):
        driver.deliver("honest", message(f"good{at}"))
    driver.mesh.disconnected("honest", driver.now)
    for at in range(40):
        driver.connect(f"gone{at}")
        driver.deliver(f"gone{at}", message(f"bad{at}"), Decision.REJECT)
        driver.mesh.disconnected(f"gone{at}", driver.now)
    assert driver.mesh._state.retained() == 16
    assert driver.mesh.score("honest") == 5.0
    assert driver.mesh.score("gone39") == -1.0


def test_an_offer_of_what_is_judged_is_not_asked_for_after_the_verdict() -> None:
    driver = Driver()
    driver.crowd(2)
    driver.deliver("in0", message(), None)
    driver.say("in1", Rpc(ihave=(IHave(TOPIC, (message().content,)),)))
    driver.mesh.verdict(message().content, Decision.IGNORE, driver.now)
    driver.take()
    for _ in range(10):
        driver.beat()
        assert driver.asked("in1") == set()
