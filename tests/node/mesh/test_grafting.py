"""The mesh of a topic: degree, GRAFT and PRUNE, backoff, peer exchange (gossipsub 1.1)."""

from __future__ import annotations

import pytest
from mesh_making import TOPIC, Driver

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.rpc import Graft, PeerInfo, Prune, Rpc, Subscription
from methrics.schema.errors import ConfigError


def test_a_peer_that_connects_is_told_the_joined_topics() -> None:
    driver = Driver()
    driver.mesh.connected("a", driver.now, outbound=False, direct=False, origin=b"")
    driver.take()
    assert driver.rpcs("a") == [Rpc((Subscription(TOPIC, True),))]


def test_joining_and_leaving_is_told_to_all_peers_once() -> None:
    driver = Driver(join=False)
    driver.crowd(2)
    for _ in range(2):
        driver.mesh.join(TOPIC, driver.now)
    driver.take()
    assert driver.rpcs("in0") == driver.rpcs("in1") == [Rpc((Subscription(TOPIC, True),))]
    for _ in range(2):
        driver.mesh.leave(TOPIC, driver.now)
    driver.take()
    assert driver.rpcs("in1") == [Rpc((Subscription(TOPIC, False),))]


def test_the_mesh_is_filled_to_its_degree() -> None:
    driver = Driver()
    driver.crowd(20)
    driver.beat()
    assert len(driver.members()) == driver.settings.degree
    assert driver.grafts() == driver.members()
    driver.beat()
    assert driver.grafts() == set()


def test_the_mesh_takes_in_peers_until_it_has_too_many() -> None:
    driver = Driver()
    names = driver.crowd(14)
    refused = [name for name in names if driver.graft(name)]
    assert len(driver.members()) == driver.settings.degree_high
    assert len(refused) == 2


def test_a_full_mesh_still_takes_in_a_peer_that_this_node_dialled() -> None:
    driver = Driver()
    for name in driver.crowd(12):
        driver.graft(name)
    driver.connect("mine", outbound=True)
    assert driver.graft("mine") == []
    assert "mine" in driver.members()


def test_a_mesh_with_too_many_peers_is_cut_to_its_degree() -> None:
    driver = Driver()
    for name in driver.crowd(14, outbound=True):
        driver.graft(name)
    driver.beat()
    assert len(driver.members()) == driver.settings.degree
    assert len(driver.pruned()) == 14 - driver.settings.degree


def test_the_best_scores_are_kept_and_enough_own_connections() -> None:
    driver = Driver()
    for name in [*driver.crowd(12), *driver.crowd(3, outbound=True)]:
        driver.graft(name)
    for at in range(4):
        driver.rate(f"in{at}", 10.0 - at)
    driver.beat()
    kept = driver.members()
    assert {"in0", "in1", "in2", "in3"} <= kept
    assert sum(name.startswith("out") for name in kept) >= driver.settings.degree_out
    assert len(kept) == driver.settings.degree


def test_own_connections_are_added_until_there_are_enough() -> None:
    driver = Driver()
    for name in driver.crowd(8):
        driver.graft(name)
    driver.crowd(5, outbound=True)
    driver.beat()
    own = {name for name in driver.members() if name.startswith("out")}
    assert len(own) == driver.settings.degree_out == len(driver.grafts())


def test_a_peer_with_a_negative_score_is_pruned_and_not_grafted() -> None:
    driver = Driver()
    driver.crowd(5)
    driver.beat()
    assert len(driver.members()) == 5
    driver.record("in1")
    driver.rate("in0", -1.0)
    driver.beat()
    assert driver.members() == {"in1", "in2", "in3", "in4"}
    [prune] = driver.prunes("in0")
    assert prune.peers == ()
    driver.beat(200)
    assert "in0" not in driver.members()
    assert driver.graft("in0") == [Prune(TOPIC, 60, ())]


def test_a_pruned_peer_is_not_grafted_before_its_backoff_has_ended() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.beat()
    driver.say("in0", Rpc(prune=(Prune(TOPIC, 20),)))
    assert driver.members() == frozenset()
    driver.beat(21)
    assert driver.members() == frozenset()
    driver.beat(1)
    assert driver.members() == {"in0"}


def test_a_prune_without_a_backoff_counts_a_minute_and_a_long_one_ten() -> None:
    for backoff, expected in ((0, 62), (10**9, 602)):
        driver = Driver()
        driver.crowd(1)
        driver.say("in0", Rpc(prune=(Prune(TOPIC, backoff),)))
        driver.beat(expected - 1)
        assert driver.members() == frozenset()
        driver.beat()
        assert driver.members() == {"in0"}


def test_a_graft_within_the_backoff_is_refused_and_punished() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.say("in0", Rpc(prune=(Prune(TOPIC, 60),)))
    for _ in range(2):
        assert driver.graft("in0") == [Prune(TOPIC, 60, ())]
    assert driver.mesh.score("in0") == 0  # an honest peer may be too early now and then
    driver.graft("in0")
    assert driver.mesh.score("in0") < 0
    driver.now += 59
    driver.graft("in0")
    driver.now += 59
    assert driver.graft("in0")  # each attempt makes the backoff longer


def test_attack_grafting_again_and_again_ends_in_the_graylist() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.say("in0", Rpc(prune=(Prune(TOPIC, 60),)))
    for _ in range(8):
        driver.graft("in0")
    assert driver.mesh.score("in0") < driver.settings.graylist_below
    assert driver.graft("in0") == []


def test_a_graft_for_a_topic_that_is_not_joined_is_not_answered() -> None:
    driver = Driver(join=False)
    driver.crowd(1)
    assert driver.say("in0", Rpc(graft=(Graft(TOPIC), Graft("other")))) == []


def test_a_graft_of_a_peer_that_has_not_joined_is_not_answered() -> None:
    driver = Driver()
    driver.connect("a", topics=())
    assert driver.graft("a") == []
    assert driver.members() == frozenset()


def test_a_peer_that_leaves_the_topic_or_disconnects_leaves_the_mesh() -> None:
    driver = Driver()
    driver.crowd(3)
    driver.beat()
    driver.say("in0", Rpc((Subscription(TOPIC, False),)))
    driver.mesh.disconnected("in1", driver.now)
    assert driver.members() == {"in2"}
    assert driver.mesh.topic_peers(TOPIC) == {"in2"}
    driver.beat()
    assert driver.members() == {"in2"}


def test_leaving_a_topic_prunes_its_mesh_with_a_short_backoff() -> None:
    driver = Driver()
    driver.crowd(3)
    driver.beat()
    driver.mesh.leave(TOPIC, driver.now)
    driver.take()
    assert driver.prunes("in0") == [Prune(TOPIC, 10)]
    assert driver.pruned() == {"in0", "in1", "in2"}
    driver.mesh.join(TOPIC, driver.now)
    driver.beat(11)
    assert driver.members() == frozenset()
    driver.beat()
    assert driver.members() == {"in0", "in1", "in2"}


def test_a_direct_peer_is_neither_grafted_nor_refused_nor_pruned() -> None:
    driver = Driver()
    driver.connect("friend", direct=True)
    driver.rate("friend", -100.0)
    assert driver.graft("friend") == []
    driver.beat(3)
    assert driver.members() == frozenset()
    assert driver.outputs == []


def test_a_mesh_peer_that_becomes_direct_leaves_the_mesh_without_a_prune() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.beat()
    driver.mesh.connected("in0", driver.now, outbound=True, direct=True, origin=b"")
    assert driver.members() == frozenset()
    driver.beat(3)
    assert driver.members() == frozenset()
    assert driver.outputs == []
    driver.mesh.connected("in0", driver.now, outbound=True, direct=False, origin=b"")
    driver.beat()
    assert driver.members() == {"in0"}


def test_a_poor_mesh_gets_better_peers_each_minute() -> None:
    driver = Driver()
    for name in driver.crowd(6):
        driver.graft(name)
    driver.crowd(2, outbound=True)
    for name in ("out0", "out1"):
        driver.mesh.connected(name, driver.now, outbound=False, direct=False, origin=b"")
    driver.connect("better")
    driver.connect("best")
    driver.beat()
    driver.rate("better", 1.0)
    driver.rate("best", 2.0)
    driver.beat(59)
    assert not {"better", "best"} & driver.members()
    driver.beat()
    assert driver.grafts() == {"better", "best"}
    assert {"better", "best"} <= driver.members()


def test_a_good_mesh_is_left_alone() -> None:
    driver = Driver()
    for name in driver.crowd(6):
        driver.graft(name)
        driver.rate(name, 1.0)
    driver.connect("best")
    driver.beat()
    driver.rate("best", 20.0)
    driver.beat(130)
    assert "best" not in driver.members()


def test_a_prune_for_too_many_peers_names_up_to_sixteen_others() -> None:
    driver = Driver()
    names = driver.crowd(40)
    infos = {name: driver.record(name) for name in names}
    driver.rate("in39", -1.0)
    for name in names[:12]:
        driver.graft(name)
    driver.beat()
    [prune] = driver.graft("in12")
    assert len(set(map(id, prune.peers))) == 16
    assert infos["in12"] not in prune.peers
    assert infos["in39"] not in prune.peers
    assert all(info in infos.values() for info in prune.peers)


def test_peers_without_a_record_are_not_named() -> None:
    driver = Driver()
    names = driver.crowd(14)
    known = [driver.record(name) for name in names[:3]]
    for name in names[:12]:
        driver.graft(name)
    driver.beat()
    [prune] = driver.graft("in12")
    assert sorted(info.peer_id for info in prune.peers) == sorted(one.peer_id for one in known)


def test_a_record_of_a_stranger_or_of_excessive_size_is_not_kept() -> None:
    driver = Driver()
    names = driver.crowd(13)
    driver.mesh.note_record("nobody", b"x", b"record")
    driver.mesh.note_record("in0", b"x", b"r" * 5000)
    for name in names[:12]:
        driver.graft(name)
    driver.beat()
    [prune] = driver.graft("in12")
    assert prune.peers == ()


NAMED = tuple(PeerInfo(b"peer%d" % at, b"record") for at in range(20))


def test_peers_named_by_a_good_peer_are_dialled_a_few_at_a_time() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.rate("in0", driver.settings.accept_exchange)
    driver.say("in0", Rpc(prune=(Prune(TOPIC, 60, NAMED),)))
    assert [one.peer_id for one in driver.dials()] == [b"peer%d" % at for at in range(4)]
    driver.say("in0", Rpc(prune=(Prune(TOPIC, 60, NAMED),)))
    assert driver.dials() == []
    driver.beat()
    driver.say("in0", Rpc(prune=(Prune(TOPIC, 60, NAMED),)))
    assert [one.peer_id for one in driver.dials()] == [b"peer%d" % at for at in range(4, 8)]
    assert driver.mesh.statistics().dials == 8


def test_no_peer_is_dialled_twice_within_ten_minutes() -> None:
    driver = Driver()
    driver.connect("friend", direct=True)
    for expected in (1, 0):
        driver.say("friend", Rpc(prune=(Prune(TOPIC, 60, NAMED[:1]),)))
        assert len(driver.dials()) == expected
        driver.beat()
    driver.now += 600
    driver.say("friend", Rpc(prune=(Prune(TOPIC, 60, NAMED[:1]),)))
    assert len(driver.dials()) == 1


def test_attack_peers_named_by_a_stranger_are_not_dialled() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.rate("in0", driver.settings.accept_exchange - 0.1)
    assert driver.say("in0", Rpc(prune=(Prune(TOPIC, 60, NAMED),))) == []


def test_only_sixteen_named_peers_and_only_those_with_a_record_are_read() -> None:
    driver = Driver(MeshSettings(dials_max=100))
    driver.connect("friend", direct=True)
    without = tuple(PeerInfo(b"no%d" % at) for at in range(10))
    long = (PeerInfo(b"long", b"r" * 5000), PeerInfo(b"", b"record"))
    driver.say("friend", Rpc(prune=(Prune(TOPIC, 60, (*without, *long, *NAMED)),)))
    assert [one.peer_id for one in driver.dials()] == [b"peer0", b"peer1", b"peer2", b"peer3"]


def test_a_node_with_enough_connections_dials_no_named_peers() -> None:
    driver = Driver()
    driver.crowd(23)
    driver.connect("friend", direct=True)
    assert driver.say("friend", Rpc(prune=(Prune(TOPIC, 60, NAMED),))) == []


def test_attack_backoffs_of_many_peer_ids_are_bounded() -> None:
    driver = Driver(MeshSettings(backoffs_max=10))
    for at in range(50):
        driver.connect(f"p{at}")
        driver.say(f"p{at}", Rpc(prune=(Prune(TOPIC, 600),)))
        driver.mesh.disconnected(f"p{at}", driver.now)
    topic = driver.mesh._state.topics[TOPIC]
    assert len(topic.backoff) == 10
    driver.now += 700
    driver.beat(16)
    assert topic.backoff == {}


def test_attack_topics_that_a_stranger_invents_are_bounded_and_forgotten() -> None:
    driver = Driver()
    driver.connect("a", topics=[f"topic{at}" for at in range(500)])
    driver.say("a", Rpc((Subscription("x" * 201, True), Subscription("", True))))
    assert len(driver.mesh._state.topics) == 1 + driver.settings.topics_max
    driver.mesh.disconnected("a", driver.now)
    assert list(driver.mesh._state.topics) == [TOPIC]


@pytest.mark.parametrize(
    "wrong",
    [
        {"degree_low": 7},
        {"degree_out": 4},
        {"degree": 5, "degree_out": 3},
        {"window": 0},
        {"window": 61},
        {"graylist_below": -50.0},
        {"gossip_least": 1.0},
        {"seen_ttl": 30.0},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        MeshSettings(**wrong)  # type: ignore[arg-type]
