"""Messages: judged once, forwarded, blamed, and never forgotten silently."""

from __future__ import annotations

from mesh_making import TOPIC, Driver, message

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import UNSEEN, Wait
from methrics.node.mesh.outputs import Judge
from methrics.node.mesh.rpc import IHave, Message, Rpc
from methrics.schema.wire.limits import BUNDLE_MAX
from methrics.schema.wire.verdict import Decision


def grafted(count: int = 6) -> Driver:
    driver = Driver()
    for name in driver.crowd(count):
        driver.graft(name)
    return driver


def test_a_new_content_is_judged_once_however_many_peers_send_it() -> None:
    driver = grafted()
    one = message()
    assert driver.deliver("in0", one, None) == [Judge(one.content, one, "in0")]
    assert driver.deliver("in1", one, None) == []
    driver.mesh.verdict(one.content, Decision.ACCEPT, driver.now)
    driver.take()
    assert driver.deliver("in2", one) == []
    counts = driver.mesh.statistics()
    assert (counts.received, counts.duplicates, counts.accepted) == (3, 2, 1)
    assert counts.received_bytes == 15


def test_an_accepted_message_goes_to_the_mesh_but_not_back() -> None:
    driver = grafted()
    driver.connect("outside")
    one = message()
    driver.deliver("in0", one, None)
    driver.deliver("in1", one, None)
    driver.mesh.verdict(one.content, Decision.ACCEPT, driver.now)
    driver.take()
    assert driver.receivers(one) == {"in2", "in3", "in4", "in5"}


def test_a_direct_peer_gets_every_message_of_its_topics_whatever_its_score() -> None:
    driver = grafted()
    driver.connect("friend", direct=True)
    driver.connect("elsewhere", topics=["other"], direct=True)
    driver.rate("friend", -100.0)
    driver.deliver("in0", message())
    assert driver.receivers(message()) == {"friend", "in1", "in2", "in3", "in4", "in5"}
    driver.deliver("friend", message("from the friend"))
    assert "in0" in driver.receivers(message("from the friend"))


def test_what_is_not_accepted_is_not_forwarded() -> None:
    for outcome in (Decision.IGNORE, Decision.REJECT, UNSEEN, Wait(b"x")):
        driver = grafted()
        driver.deliver("in0", message(), outcome)
        assert driver.receivers(message()) == set()


def test_after_reject_every_peer_that_sent_it_loses_score() -> None:
    driver = grafted()
    one = message()
    driver.deliver("in0", one, None)
    driver.deliver("in1", one, None)
    driver.mesh.verdict(one.content, Decision.REJECT, driver.now)
    driver.deliver("in2", one)
    for name in ("in0", "in1", "in2"):
        assert driver.mesh.score(name) == -1.0
    assert driver.mesh.score("in3") == 0


def test_the_first_peer_that_sent_an_accepted_message_gains_score() -> None:
    driver = grafted()
    driver.deliver("in0", message())
    driver.deliver("in1", message())
    assert driver.mesh.score("in0") == 0.5
    assert driver.mesh.score("in1") == 0


def test_a_message_of_another_topic_is_dropped_without_blame() -> None:
    driver = grafted()
    for topic in ("other", ""):
        assert driver.deliver("in0", message(topic=topic)) == []
    assert driver.mesh.statistics().malformed == 2
    assert driver.mesh.score("in0") == 0


def test_an_empty_or_oversize_message_is_blamed() -> None:
    driver = grafted()
    assert driver.deliver("in0", Message(b"s", b"", b"1", TOPIC, b"x")) == []
    assert driver.deliver("in1", message(size=BUNDLE_MAX + 1)) == []
    assert driver.deliver("in2", message(size=BUNDLE_MAX))
    assert driver.mesh.score("in0") == driver.mesh.score("in1") == -1.0
    assert driver.mesh.statistics().malformed == 2


def test_a_published_message_goes_to_every_topic_peer_that_has_not_misbehaved() -> None:
    driver = Driver()
    driver.crowd(30)
    driver.connect("elsewhere", topics=["other"])
    driver.connect("friend", direct=True)
    driver.beat()
    driver.rate("in0", driver.settings.publish_least)
    driver.rate("in1", driver.settings.publish_least - 0.1)
    driver.rate("friend", -100.0)
    assert driver.mesh.publish(message(), driver.now) == 30
    driver.take()
    expected = {f"in{at}" for at in range(30)} - {"in1"} | {"friend"}
    assert driver.receivers(message()) == expected
    assert driver.mesh.statistics().published == 1


def test_an_own_message_is_a_duplicate_when_it_returns_and_can_be_published_again() -> None:
    driver = grafted()
    driver.mesh.publish(message(), driver.now)
    driver.take()
    assert driver.deliver("in0", message(), None) == []
    assert driver.mesh.statistics().duplicates == 1
    assert driver.mesh.publish(message(), driver.now) == 6


def test_publishing_without_peers_reaches_nobody() -> None:
    driver = Driver()
    assert driver.mesh.publish(message(), driver.now) == 0


def test_publishing_what_is_being_judged_or_waits_settles_it() -> None:
    driver = grafted()
    driver.deliver("in0", message("a"), None)
    driver.deliver("in0", message("b"), Wait(b"x"))
    for text in ("a", "b"):
        driver.mesh.publish(message(text), driver.now)
    driver.take()
    driver.mesh.verdict(message("a").content, Decision.REJECT, driver.now)
    assert driver.mesh.again(b"x", driver.now) == 0
    assert driver.take() == []
    assert driver.mesh.score("in0") == 0
    counts = driver.mesh.statistics()
    assert (counts.received, counts.duplicates, counts.rejected) == (2, 2, 0)


def test_an_unseen_content_is_judged_when_it_arrives_again() -> None:
    driver = grafted()
    driver.deliver("in0", message(), UNSEEN)
    assert driver.deliver("in0", message(), None) == [Judge(message().content, message(), "in0")]
    assert driver.mesh.statistics().unseen == 1


def test_a_judged_content_is_remembered_for_two_minutes_and_not_for_ever() -> None:
    for outcome in Decision:
        driver = grafted()
        driver.deliver("in0", message(), outcome)
        driver.now += driver.settings.seen_ttl - 1
        driver.beat()
        assert driver.deliver("in1", message(), None) == []
        driver.now += 2 * driver.settings.seen_ttl
        driver.beat()
        assert driver.deliver("in1", message(), None) != []


def test_attack_ignored_contents_displace_no_accepted_one() -> None:
    driver = Driver(MeshSettings(seen_max=20))
    driver.crowd(1)
    driver.deliver("in0", message("honest"))
    for at in range(100):
        driver.deliver("in0", message(f"junk{at}"), Decision.IGNORE)
    assert driver.deliver("in0", message("honest"), None) == []
    assert len(driver.mesh._delivery.seen) <= 21


def test_a_verdict_on_an_unknown_content_has_no_effect() -> None:
    driver = grafted()
    for outcome in (Decision.ACCEPT, Decision.REJECT, Wait(b"x"), UNSEEN):
        driver.mesh.verdict(bytes(20), outcome, driver.now)
    driver.mesh.forged("in0", bytes(20), driver.now)
    assert driver.take() == []
    assert driver.mesh.statistics().received == 0


def test_a_forged_message_is_blamed_and_forgotten() -> None:
    driver = grafted()
    forged = message(signature=b"forged")
    driver.deliver("in0", forged, None)
    driver.mesh.forged("in0", forged.content, driver.now)
    assert driver.mesh.score("in0") == -1.0
    assert driver.deliver("in1", message()) != []
    assert "in0" in driver.receivers(message())
    counts = driver.mesh.statistics()
    assert (counts.malformed, counts.accepted, counts.duplicates) == (1, 1, 0)


def test_attack_a_forged_copy_that_comes_first_does_not_hide_the_true_one() -> None:
    driver = grafted()
    forged, true = message(signature=b"forged"), message()
    driver.deliver("in0", forged, None)
    driver.deliver("in1", forged, None)
    driver.deliver("in2", true, None)
    driver.mesh.forged("in0", true.content, driver.now)
    assert driver.take() == [Judge(true.content, true, "in2")]
    driver.mesh.verdict(true.content, Decision.ACCEPT, driver.now)
    driver.take()
    assert driver.receivers(true) == {"in0", "in3", "in4", "in5"}
    assert driver.mesh.score("in2") == 0.5
    counts = driver.mesh.statistics()
    assert (counts.received, counts.malformed, counts.accepted, counts.duplicates) == (3, 1, 1, 1)


def test_attack_many_forged_copies_do_not_hide_the_true_one() -> None:
    driver = grafted(8)
    content = message().content
    driver.deliver("in0", message(signature=b"forged"), None)
    for at in range(1, 6):
        driver.deliver(f"in{at}", message(signature=b"forged%d" % at), None)
    driver.deliver("in7", message(), None)
    for at in range(5):
        driver.mesh.forged(f"in{at}", content, driver.now)
    driver.take()
    driver.beat(3)
    assert driver.asked("in7") == {content}
    assert driver.deliver("in7", message()) != []


def test_after_a_forged_copy_the_others_that_offered_the_content_are_asked() -> None:
    driver = grafted()
    content = message().content
    for name in ("in0", "in1"):
        driver.offer(name, content)
    driver.deliver("in0", message(signature=b"forged"), None)
    driver.mesh.forged("in0", content, driver.now)
    driver.take()
    assert driver.asked("in1") == {content}


def test_attack_a_graylisted_peer_is_ignored_unread_and_dropped_in_the_end() -> None:
    driver = grafted()
    for at in range(11):
        driver.deliver("in0", message(f"bad{at}"), Decision.REJECT)
    assert driver.mesh.score("in0") < driver.settings.graylist_below
    assert driver.deliver("in0", message("good")) == []
    assert driver.say("in0", Rpc(ihave=(IHave(TOPIC, (bytes(20),)),))) == []
    for at in range(254):
        driver.deliver("in0", message(f"more{at}"))
    assert driver.drops() == []
    driver.deliver("in0", message("more"))
    assert [drop.peer for drop in driver.drops()] == ["in0"]
    driver.deliver("in0", message("more"))
    assert driver.drops() == []
    assert driver.mesh.statistics().limited == 257


def test_contents_that_are_judged_at_once_are_bounded_and_the_others_not_forgotten() -> None:
    driver = Driver(MeshSettings(judging_max=3, judging_per_peer=64))
    driver.crowd(1)
    judged = [bool(driver.deliver("in0", message(f"m{at}"), None)) for at in range(5)]
    assert judged == [True, True, True, False, False]
    driver.mesh.verdict(message("m0").content, Decision.ACCEPT, driver.now)
    assert driver.deliver("in0", message("m4"), None) != []
    assert driver.mesh.statistics().limited == 2


def test_a_content_that_is_never_judged_is_given_up() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.deliver("in0", message(), None)
    driver.beat(int(driver.settings.judging_time))
    assert driver.mesh.statistics().unseen == 1
    assert driver.deliver("in0", message(), None) != []


def test_a_verdict_after_the_topic_was_left_forwards_nothing() -> None:
    driver = grafted()
    driver.deliver("in0", message(), None)
    driver.mesh.leave(TOPIC, driver.now)
    driver.take()
    driver.mesh.verdict(message().content, Decision.ACCEPT, driver.now)
    driver.take()
    assert driver.receivers(message()) == set()


def test_frames_of_a_peer_that_is_not_connected_have_no_effect() -> None:
    driver = Driver()
    driver.mesh.blame("nobody", driver.now)
    driver.mesh.rate("nobody", 5.0)
    driver.mesh.disconnected("nobody", driver.now)
    assert driver.deliver("nobody", message()) == []
    assert driver.mesh.score("nobody") == 0
    assert driver.mesh.mesh_peers("nothing") == driver.mesh.topic_peers("nothing") == frozenset()
