"""IHAVE reaches every peer outside the mesh; IWANT asks one peer after the other."""

from __future__ import annotations

import pytest
from mesh_making import TOPIC, Driver, message

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import UNSEEN, Wait
from methrics.node.mesh.outputs import Send
from methrics.node.mesh.rpc import Graft, IHave, IWant, Rpc, Subscription
from methrics.schema.wire.verdict import Decision


def ids(count: int, first: int = 0) -> list[bytes]:
    return [message(f"m{at}").content for at in range(first, first + count)]


def test_each_peer_outside_the_mesh_is_told_each_id_once_within_the_window() -> None:
    driver = Driver()
    names = driver.crowd(40)
    driver.beat(4)
    one = message()
    driver.deliver("in0", one)
    told = []
    for _ in range(5):
        driver.beat()
        told += [name for name in names if one.content in driver.told(name)]
    assert len(told) == len(set(told))
    assert set(told) >= set(names) - driver.members()


def test_a_third_of_the_peers_is_told_per_beat() -> None:
    driver = Driver()
    names = driver.crowd(30)
    driver.beat(4)
    driver.mesh.publish(message(), driver.now)
    for _ in range(3):
        driver.beat()
        assert 6 <= sum(bool(driver.told(name)) for name in names) <= 10


def test_a_peer_that_was_outside_when_the_message_came_is_told_even_if_it_enters_the_mesh() -> None:
    for turn in range(3):
        driver = Driver()
        for name in driver.crowd(6):
            driver.graft(name)
        for at in range(3):
            driver.connect(f"late{at}")
        driver.beat(4)
        one = message()
        driver.deliver("in0", one)
        driver.graft(f"late{turn}")
        told = set()
        for _ in range(3):
            driver.beat()
            told |= driver.told(f"late{turn}")
        assert one.content in told


def test_a_peer_that_has_just_joined_is_told_all_that_is_kept() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.beat()
    for at in range(10):
        driver.deliver("in0", message(f"m{at}"))
        driver.beat()
    driver.connect("new")
    driver.beat()
    assert driver.told("new") == set(ids(10))


def test_a_direct_peer_needs_no_ids() -> None:
    driver = Driver()
    driver.connect("friend", direct=True)
    driver.beat(2)
    driver.mesh.publish(message(), driver.now)
    for _ in range(3):
        driver.beat()
        assert driver.told("friend") == set()


def test_a_peer_below_the_gossip_score_is_told_nothing_and_not_read() -> None:
    driver = Driver()
    driver.crowd(7)
    driver.beat(2)
    driver.deliver("in1", message())
    driver.rate("in0", driver.settings.gossip_least - 0.1)
    for _ in range(3):
        driver.beat()
        assert driver.told("in0") == set()
    assert driver.want("in0", message().content) == []
    assert driver.offer("in0", *ids(1, 50)) == set()


def test_nothing_is_told_about_ignored_rejected_or_waiting_contents() -> None:
    driver = Driver()
    driver.crowd(20)
    driver.beat(2)
    outcomes = (Decision.IGNORE, Decision.REJECT, Wait(b"x"), UNSEEN)
    for at, outcome in enumerate(outcomes):
        driver.deliver("in0", message(f"m{at}"), outcome)
    for _ in range(4):
        driver.beat()
        assert not any(driver.told(f"in{at}") for at in range(20))


def test_a_message_is_sent_to_who_asks_for_it_three_times() -> None:
    driver = Driver()
    driver.crowd(2)
    one = message()
    driver.deliver("in1", one)
    for _ in range(3):
        assert driver.want("in0", one.content) == [one]
    assert driver.want("in0", one.content) == []
    assert driver.want("in1", one.content, one.content) == [one, one]
    assert driver.mesh.statistics().resent == 5


def test_a_message_is_kept_for_a_minute() -> None:
    driver = Driver()
    driver.crowd(1)
    one = message()
    driver.deliver("in0", one)
    driver.beat(59)
    assert driver.want("in0", one.content) == [one]
    driver.beat()
    assert driver.want("in0", one.content) == []


def test_the_bytes_of_kept_messages_are_bounded_and_the_oldest_go_first() -> None:
    driver = Driver(MeshSettings(history_bytes=1000))
    driver.crowd(1)
    for at in range(5):
        driver.deliver("in0", message(f"m{at}", size=300))
        driver.beat()
    kept = [bool(driver.want("in0", one)) for one in ids_of_size(5, 300)]
    assert kept == [False, False, True, True, True]


def test_attack_large_messages_of_one_peer_do_not_displace_those_of_others() -> None:
    driver = Driver(MeshSettings(history_bytes=1000))
    driver.crowd(2)
    driver.mesh.publish(message("own", size=300), driver.now)
    driver.deliver("in1", message("honest", size=300))
    for at in range(20):
        driver.deliver("in0", message(f"m{at}", size=300))
        driver.beat()
    assert driver.want("in0", message("honest", size=300).content)
    assert driver.want("in0", message("own", size=300).content)
    assert driver.mesh._gossip._recent.size == 900


def test_own_messages_fill_half_of_what_is_kept_at_most_if_others_need_it() -> None:
    driver = Driver(MeshSettings(history_bytes=1200))
    driver.crowd(2)
    for at in range(5):
        driver.mesh.publish(message(f"own{at}", size=300), driver.now)
    for at in range(5):
        driver.deliver("in1", message(f"m{at}", size=300))
    held = driver.mesh._gossip._recent._sources
    assert {name: one.size for name, one in held.items()} == {"": 600, "in1": 600}


def test_attack_valid_messages_of_some_peers_do_not_hide_the_ids_of_others() -> None:
    driver = Driver(MeshSettings(ids_max=30))
    names = driver.crowd(30)
    driver.beat(4)
    honest = []
    for beat in range(3):
        driver.mesh.publish(message(f"own{beat}"), driver.now)
        driver.deliver("in0", message(f"honest{beat}"))
        honest += [message(f"own{beat}").content, message(f"honest{beat}").content]
        for at in range(100):
            driver.deliver(f"in{1 + at % 3}", message(f"flood{beat}-{at}"))
        driver.beat()
    told: dict[str, set[bytes]] = {name: set() for name in names}
    for _ in range(3):
        for name in names:
            told[name] |= driver.told(name)
            assert len(driver.told(name)) <= 30
        driver.beat()
    outside = set(names) - driver.members()
    assert outside
    for name in outside:
        assert set(honest[-2:]) <= told[name]


def ids_of_size(count: int, size: int) -> list[bytes]:
    return [message(f"m{at}", size=size).content for at in range(count)]


def test_attack_ids_read_per_beat_are_bounded() -> None:
    driver = Driver(MeshSettings(ids_max=10))
    driver.connect("a", outbound=True)
    assert len(driver.offer("a", *ids(8))) == 8
    assert len(driver.offer("a", *ids(8, 8))) == 2
    one = message()
    driver.deliver("a", one)
    driver.want("a", *ids(10, 50))
    assert driver.want("a", one.content) == []
    driver.beat()
    assert driver.want("a", one.content) == [one]
    assert driver.offer("a", *ids(1, 100)) == set(ids(1, 100))


def test_what_is_known_is_not_asked_for() -> None:
    driver = Driver()
    driver.crowd(1)
    outcomes = (Decision.ACCEPT, Decision.IGNORE, Decision.REJECT, Wait(b"x"), None)
    for at, outcome in enumerate(outcomes):
        driver.deliver("in0", message(f"m{at}"), outcome)
    driver.mesh.publish(message("m5"), driver.now)
    assert driver.offer("in0", *ids(7)) == set(ids(1, 6))


def test_ids_of_another_size_or_topic_are_not_asked_for() -> None:
    driver = Driver()
    driver.crowd(1)
    assert driver.offer("in0", b"", bytes(19), bytes(21)) == set()
    assert driver.say("in0", Rpc(ihave=(IHave("other", tuple(ids(1))),))) == []


def test_one_peer_is_asked_and_the_others_only_when_it_does_not_send() -> None:
    driver = Driver()
    driver.crowd(4)
    [wanted] = ids(1)
    asked = [len(driver.offer(f"in{at}", wanted)) for at in range(4)]
    assert asked == [1, 0, 0, 0]
    driver.beat(2)
    assert driver.asked("in1") == set()
    driver.beat()
    assert [name for name in ("in1", "in2", "in3") if driver.asked(name)] == ["in1", "in2"]
    driver.beat(3)
    assert driver.asked("in3") == {wanted}
    driver.beat(3)
    assert driver.mesh.statistics().promises_broken == 4
    assert driver.offer("in0", wanted) == {wanted}


def test_a_peer_that_offers_again_what_it_was_asked_for_is_asked_again() -> None:
    """It may have had no room for its answer."""
    driver = Driver()
    driver.crowd(1)
    [wanted] = ids(1)
    assert driver.offer("in0", wanted) == {wanted}
    driver.beat()
    assert driver.offer("in0", wanted) == set()
    driver.beat(2)
    assert driver.asked("in0") == {wanted}


def test_own_connections_and_good_scores_are_asked_first() -> None:
    driver = Driver()
    driver.crowd(3)
    driver.connect("good")
    driver.rate("good", 3.0)
    driver.connect("mine", outbound=True)
    for name in ("in0", "in1", "in2", "good", "mine"):
        driver.offer(name, *ids(1))
    driver.beat(3)
    assert [name for name in ("in1", "in2", "good", "mine") if driver.asked(name)] == [
        "good",
        "mine",
    ]


def test_a_promise_that_is_kept_costs_nothing() -> None:
    driver = Driver()
    driver.crowd(2)
    one = message("m0")
    driver.offer("in0", one.content)
    driver.deliver("in1", one)  # from whoever it comes
    driver.beat(6)
    assert driver.mesh.statistics().promises_broken == 0


def test_broken_promises_count_once_a_beat_and_the_first_cost_nothing() -> None:
    driver = Driver()
    driver.connect("a", outbound=True)
    driver.offer("a", *ids(100))
    driver.beat(3)
    assert driver.mesh.statistics().promises_broken == 100
    assert driver.mesh.score("a") == 0  # one stall of three seconds is forgiven
    for at in range(2):
        driver.offer("a", *ids(1, 200 + at))
        driver.beat(3)
    assert driver.mesh.score("a") < 0


def test_attack_a_peer_that_withholds_what_it_offers_is_no_longer_asked() -> None:
    driver = Driver()
    driver.crowd(1)
    asked = 0
    for at in range(30):
        asked += len(driver.offer("in0", *ids(1, at)))
        driver.beat()
    assert asked < 20
    assert driver.mesh.score("in0") < driver.settings.gossip_least


@pytest.mark.parametrize("sybils", [20, 60])
def test_attack_sybils_that_promise_in_vain_delay_a_message_but_do_not_hide_it(
    sybils: int,
) -> None:
    driver = Driver()
    driver.crowd(sybils)
    driver.connect("honest")
    [wanted] = ids(1)
    for at in range(sybils):
        driver.offer(f"in{at}", wanted)
    driver.offer("honest", wanted)
    beats = 0
    while not driver.asked("honest"):
        driver.beat()
        beats += 1
    assert beats <= 21
    sybil = message("m1").content
    for at in range(sybils):
        driver.offer(f"in{at}", sybil)
    driver.connect("mine", outbound=True)
    driver.offer("mine", sybil)
    driver.beat(3)
    assert driver.asked("mine") == {sybil}  # a peer that this node chose is asked next


def test_attack_invented_ids_do_not_use_up_all_questions() -> None:
    driver = Driver(MeshSettings(promises_max=200))
    driver.crowd(2)
    for at in range(2):
        driver.offer(f"in{at}", *ids(100, 1000 * at))
    assert driver.mesh.statistics().asked == 128  # 64 of each unknown peer
    driver.connect("mine", outbound=True)
    assert len(driver.offer("mine", *ids(100, 5000))) == 72
    driver.beat(3)
    assert len(driver.offer("mine", *ids(300, 6000))) == 200


def test_a_peer_that_disconnects_breaks_no_promise_and_others_are_asked() -> None:
    driver = Driver()
    driver.crowd(2)
    for name in ("in0", "in1"):
        driver.offer(name, *ids(1))
    driver.mesh.disconnected("in0", driver.now)
    driver.beat()
    assert driver.asked("in1") == set(ids(1))
    assert driver.mesh.statistics().promises_broken == 0


def test_a_question_that_was_not_sent_breaks_no_promise_and_others_are_asked() -> None:
    driver = Driver()
    driver.crowd(2)
    for name in ("in0", "in1"):
        driver.offer(name, *ids(1))
    driver.mesh.unsent(Send("in0", Rpc(iwant=(IWant(tuple(ids(1))),))), driver.now)
    driver.beat()
    assert driver.asked("in1") == set(ids(1))
    assert driver.mesh.statistics().promises_broken == 0


def test_a_message_that_was_not_sent_is_told_at_the_next_beat_also_to_a_mesh_peer() -> None:
    driver = Driver()
    driver.crowd(2)
    driver.connect("friend", direct=True)
    driver.beat()
    one = message()
    driver.deliver("in0", one)
    for name in ("in1", "friend"):
        [rpc] = driver.rpcs(name)
        driver.mesh.unsent(Send(name, rpc), driver.now)
    driver.beat()
    assert driver.told("in1") == driver.told("friend") == {one.content}
    driver.beat()
    assert driver.told("in1") == driver.told("friend") == set()
    assert driver.mesh.statistics().unsent == 2


def test_ids_that_were_not_sent_are_told_again() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.beat()
    driver.deliver("in0", message())
    driver.connect("new")
    driver.beat()
    for _ in range(3):
        [rpc] = [rpc for rpc in driver.rpcs("new") if rpc.ihave]
        driver.mesh.unsent(Send("new", rpc), driver.now)
        driver.beat()
        assert driver.told("new") == {message().content}


def test_a_retransmission_that_was_not_sent_does_not_count() -> None:
    driver = Driver()
    driver.crowd(1)
    one = message()
    driver.deliver("in0", one)
    for _ in range(10):
        assert driver.want("in0", one.content) == [one]
        driver.mesh.unsent(Send("in0", Rpc(messages=(one,))), driver.now)
    assert [bool(driver.want("in0", one.content)) for _ in range(4)] == [True, True, True, False]


def test_an_own_message_that_was_not_sent_is_told_by_a_node_that_only_publishes() -> None:
    driver = Driver(join=False)
    driver.crowd(1)
    one = message()
    assert driver.mesh.publish(one, driver.now) == 1
    driver.take()
    driver.mesh.unsent(Send("in0", driver.rpcs("in0")[0]), driver.now)
    driver.beat()
    assert driver.told("in0") == {one.content}
    assert driver.want("in0", one.content) == [one]


def test_subscriptions_that_were_not_sent_are_sent_again() -> None:
    driver = Driver()
    driver.crowd(1)
    subscriptions = Rpc((Subscription(TOPIC, True),))
    driver.mesh.unsent(Send("in0", subscriptions), driver.now)
    driver.beat()
    assert subscriptions in driver.rpcs("in0")


def test_a_peer_whom_nothing_had_reached_is_greeted_and_told_everything() -> None:
    driver = Driver()
    driver.crowd(3)
    driver.beat()
    driver.deliver("in0", message())
    driver.offer("in1", *ids(1))
    driver.mesh.renewed("nobody")
    driver.mesh.renewed("in1")
    driver.take()
    assert driver.rpcs("in1") == [Rpc((Subscription(TOPIC, True),))]
    assert "in1" not in driver.members()
    assert "in1" in driver.mesh.topic_peers(TOPIC)
    driver.beat()
    assert driver.told("in1") == {message().content}
    assert "in1" in driver.grafts()
    assert driver.mesh.statistics().promises_broken == 0


def test_a_graft_that_was_not_sent_is_taken_back() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.beat()
    driver.mesh.unsent(Send("in0", Rpc(graft=(Graft(TOPIC), Graft("other")))), driver.now)
    assert driver.members() == frozenset()
    driver.beat()
    assert driver.grafts() == {"in0"}


def test_a_frame_for_a_peer_that_is_gone_is_only_counted() -> None:
    driver = Driver()
    driver.mesh.unsent(Send("nobody", Rpc(graft=(Graft(TOPIC),))), driver.now)
    assert driver.mesh.statistics().unsent == 1


def test_what_is_owed_to_a_peer_is_bounded() -> None:
    driver = Driver(MeshSettings(ids_max=5))
    driver.crowd(2)
    driver.beat()
    for at in range(20):
        driver.deliver("in0", message(f"m{at}"))
        for rpc in driver.rpcs("in1"):
            driver.mesh.unsent(Send("in1", rpc), driver.now)
    driver.beat()
    assert len(driver.told("in1")) == 5
