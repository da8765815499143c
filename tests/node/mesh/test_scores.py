"""The peer score: what raises and lowers it, how it decays, and how it is retained."""

from __future__ import annotations

import pytest
from mesh_making import TOPIC, Driver, message

from methrics.node.mesh.limits import MeshSettings, ScoreSettings
from methrics.node.mesh.rpc import Prune, Rpc
from methrics.node.mesh.standing import Standing, colocation, shortfall
from methrics.schema.wire.verdict import Decision

SCORE = ScoreSettings()


def test_new_messages_raise_the_score_up_to_a_cap() -> None:
    driver = Driver()
    driver.crowd(1)
    for at in range(60):
        driver.deliver("in0", message(f"m{at}"))
    assert driver.mesh.score("in0") == SCORE.first_weight * SCORE.first_cap


def test_five_invalid_messages_outweigh_the_largest_credit_and_ten_graylist() -> None:
    driver = Driver()
    driver.crowd(2)
    for at in range(60):
        driver.deliver("in0", message(f"m{at}"))
    for at in range(5):
        driver.deliver("in0", message(f"bad{at}"), Decision.REJECT)
    assert driver.mesh.score("in0") < 0
    for at in range(11):
        driver.deliver("in1", message(f"worse{at}"), Decision.REJECT)
    assert driver.mesh.score("in1") < driver.settings.graylist_below


def test_malformed_frames_lower_the_score() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.mesh.blame("in0", driver.now)
    assert driver.mesh.score("in0") < 0
    for _ in range(2):
        driver.mesh.blame("in0", driver.now)
    assert driver.mesh.score("in0") < driver.settings.graylist_below


def test_the_worst_score_is_forgiven_within_minutes_and_then_costs_no_work() -> None:
    driver = Driver()
    driver.crowd(1)
    for at in range(100):
        driver.deliver("in0", message(f"m{at}"), Decision.REJECT)
        driver.mesh.blame("in0", driver.now)
    assert driver.mesh.score("in0") < driver.settings.graylist_below
    driver.beat(90)
    assert driver.mesh.score("in0") > driver.settings.graylist_below
    driver.beat(400)
    assert driver.mesh.score("in0") == 0
    assert driver.mesh._state._marked == {}


def test_an_application_adds_its_own_points_within_bounds() -> None:
    driver = Driver()
    driver.crowd(1)
    for points, expected in ((5.0, 5.0), (1e9, 100.0), (-1e9, -100.0), (0.0, 0.0)):
        driver.mesh.rate("in0", points)
        assert driver.mesh.score("in0") == expected
    driver.mesh.rate("in0", 5.0)
    driver.beat(100)
    assert driver.mesh.score("in0") == 5.0


def test_attack_connecting_again_does_not_clear_a_bad_score() -> None:
    driver = Driver()
    driver.crowd(1)
    for at in range(11):
        driver.deliver("in0", message(f"m{at}"), Decision.REJECT)
    before = driver.mesh.score("in0")
    driver.mesh.disconnected("in0", driver.now)
    assert driver.mesh.score("in0") == before
    driver.crowd(1)
    assert driver.mesh.score("in0") == before


def test_a_score_decays_while_a_peer_is_away_as_if_it_had_stayed() -> None:
    here, away = Driver(), Driver()
    for driver in (here, away):
        driver.crowd(1)
        for at in range(8):
            driver.deliver("in0", message(f"m{at}"), Decision.REJECT)
    away.mesh.disconnected("in0", away.now)
    for driver in (here, away):
        driver.beat(30)
    away.crowd(1)
    assert away.mesh.score("in0") == pytest.approx(here.mesh.score("in0"))


def test_retained_scores_are_bounded_in_number_and_time() -> None:
    driver = Driver(MeshSettings(retained_max=10))
    for at in range(30):
        driver.connect(f"p{at}")
        driver.mesh.blame(f"p{at}", driver.now)
        driver.mesh.disconnected(f"p{at}", driver.now)
    assert driver.mesh._state.retained() == 10
    driver.now += driver.settings.retain_time
    driver.beat()
    assert driver.mesh._state.retained() == 0


def test_a_peer_without_a_record_leaves_nothing_behind() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.mesh.disconnected("in0", driver.now)
    assert driver.mesh._state.retained() == 0


def test_a_verdict_also_lowers_the_score_of_a_peer_that_has_disconnected() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.mesh.blame("in0", driver.now)
    driver.deliver("in0", message(), None)
    driver.mesh.disconnected("in0", driver.now)
    before = driver.mesh.score("in0")
    driver.mesh.verdict(message().content, Decision.REJECT, driver.now)
    assert driver.mesh.score("in0") == before - 1


def test_the_newest_of_a_crowd_of_one_network_leave_the_mesh_but_are_still_told_ids() -> None:
    driver = Driver()
    names = driver.crowd(60, origin=b"crowd")
    driver.connect("other", origin=b"home")
    driver.connect("unknown")
    for name in names[16:]:
        assert 0 > driver.mesh.score(name) >= driver.settings.gossip_least
    for name in (*names[:16], "other", "unknown"):
        assert driver.mesh.score(name) == 0
    driver.beat()
    assert driver.members() <= {*names[:16], "other", "unknown"}
    for name in names[:44]:
        driver.mesh.disconnected(name, driver.now)
    assert driver.mesh.score("in59") == 0


def test_attack_neighbours_that_join_nothing_do_not_push_a_peer_out_of_the_mesh() -> None:
    driver = Driver()
    for at in range(30):
        driver.connect(f"sybil{at}", topics=["other"], origin=b"host")
    driver.connect("relay", origin=b"host")
    driver.beat()
    assert driver.mesh.score("relay") == 0
    assert "relay" in driver.members()
    driver.mesh.join("other", driver.now)
    assert driver.mesh.score("relay") == 0
    assert driver.mesh.score("sybil29") < 0
    driver.mesh.leave("other", driver.now)
    assert driver.mesh.score("sybil29") == 0


def test_attack_neighbours_that_came_first_cost_a_peer_with_credit_or_a_chosen_one_nothing() -> (
    None
):
    driver = Driver()
    driver.crowd(30, origin=b"host")
    driver.connect("relay", origin=b"host")
    driver.connect("chosen", origin=b"host", outbound=True)
    driver.connect("friend", origin=b"host", direct=True)
    assert driver.mesh.score("chosen") == driver.mesh.score("friend") == 0
    assert driver.mesh.score("relay") < 0
    for at in range(int(SCORE.colocated_credit)):
        driver.deliver("relay", message(f"m{at}"))
    assert driver.mesh.score("relay") > 0
    driver.beat(300)
    assert driver.mesh.score("relay") < 0


def test_colocation_grows_with_the_square_up_to_a_cap() -> None:
    assert [colocation(count, SCORE) for count in (1, 16, 17, 18, 1000)] == [0, 0, 0.25, 1, 15]


def test_a_shortfall_counts_above_the_stated_rate_only() -> None:
    steady = 1 / (1 - SCORE.decay)
    assert shortfall(0.0, 1.0 * steady, SCORE) == 0.0
    assert shortfall(0.0, 1.1 * steady, SCORE) == 1.0
    assert shortfall(0.12 * steady, 1.1 * steady, SCORE) == 0.0
    assert shortfall(0.055 * steady, 1.1 * steady, SCORE) == pytest.approx(0.25)


def busy(driver: Driver, seconds: int, rate: int, *senders: str) -> None:
    """Let the senders take turns to deliver `rate` messages a second."""
    for second in range(seconds):
        for at in range(rate):
            sender = senders[at % len(senders)]
            driver.deliver(sender, message(f"{driver.now}-{second}-{at}"))
        driver.beat()


def test_a_silent_mesh_peer_of_a_busy_topic_is_pruned_and_stays_out_for_a_while() -> None:
    driver = Driver()
    for name in driver.crowd(5):
        driver.graft(name)
    busy(driver, 59, 4, "in0", "in1", "in2", "in3")
    assert "in4" in driver.members()
    busy(driver, 3, 4, "in0", "in1", "in2", "in3")
    assert driver.members() == {"in0", "in1", "in2", "in3"}
    assert driver.settings.gossip_least < driver.mesh.score("in4") < 0


def test_a_silent_mesh_peer_of_a_quiet_topic_stays() -> None:
    driver = Driver()
    for name in driver.crowd(5):
        driver.graft(name)
    busy(driver, 120, 1, "in0", "in1", "in2", "in3")
    assert "in4" in driver.members()
    assert driver.mesh.score("in4") == 0


def test_a_copy_that_comes_nearly_first_counts_and_an_echo_does_not() -> None:
    driver = Driver()
    for name in driver.crowd(5):
        driver.graft(name)
    for second in range(70):
        for at in range(3):
            one = message(f"{second}-{at}")
            driver.deliver("in0", one, None)
            driver.deliver("in1", one, None)
            driver.mesh.verdict(one.content, Decision.ACCEPT, driver.now)
            driver.now += 0.04
            driver.deliver("in2", one)
            driver.now += 0.04
            driver.deliver("in3", one)
        driver.beat()
    assert driver.members() == {"in0", "in1", "in2"}


def test_a_shortfall_ends_with_the_membership() -> None:
    driver = Driver()
    for name in driver.crowd(5):
        driver.graft(name)
        driver.rate(name, 50.0)
    busy(driver, 62, 4, "in0", "in1", "in2", "in3")
    assert "in4" in driver.members()
    assert driver.mesh.score("in4") == 42.0
    driver.say("in4", Rpc(prune=(Prune(TOPIC, 60),)))
    assert driver.mesh.score("in4") == 50.0


def test_all_counters_stay_within_their_caps() -> None:
    standing = Standing(first=40.0, missed=1.0, invalid=30.0, penalty=20.0)
    worst = standing.points(SCORE, 1.0)
    assert -5000 < worst < 0
    assert standing.decay(SCORE, 10_000) is False
    assert standing == Standing()
