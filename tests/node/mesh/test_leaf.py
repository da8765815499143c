"""A leaf: it gets everything and passes nothing on."""

from __future__ import annotations

from mesh_making import Driver, message

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outputs import Judge, Send
from methrics.node.mesh.rpc import Rpc
from methrics.schema.wire.verdict import Decision


def leaf() -> Driver:
    return Driver(MeshSettings(leaf=True))


def test_a_leaf_forwards_nothing_and_offers_nothing() -> None:
    driver, one = leaf(), message()
    driver.crowd(4)
    driver.connect("direct", direct=True)
    outputs = driver.deliver("in0", one)
    assert [output for output in outputs if isinstance(output, Send)] == []
    assert any(isinstance(output, Judge) for output in outputs)
    for _ in range(4):
        driver.beat()
        assert driver.told("in1") == driver.told("direct") == set()
    assert driver.want("in1", one.content) == []


def test_a_leaf_is_in_no_mesh_and_blames_nobody_for_asking() -> None:
    driver = leaf()
    driver.crowd(8)
    driver.beat(3)
    assert driver.grafts() == set()
    for _ in range(4):
        assert len(driver.graft("in0")) == 1
    assert driver.members() == frozenset()
    assert driver.mesh.score("in0") == 0


def test_a_leaf_asks_for_what_it_is_offered_and_judges_it_once() -> None:
    driver, one = leaf(), message()
    driver.crowd(2)
    assert driver.offer("in0", one.content) == {one.content}
    driver.deliver("in0", one)
    assert driver.offer("in1", one.content) == set()
    driver.deliver("in1", one)
    assert driver.judged() == []


def test_a_leaf_still_blames_who_sends_what_is_rejected() -> None:
    driver = leaf()
    driver.crowd(2)
    driver.deliver("in0", message(), Decision.REJECT)
    assert driver.mesh.score("in0") < 0 == driver.mesh.score("in1")


def test_a_node_that_is_no_leaf_takes_none_into_its_mesh_for_long() -> None:
    driver, leafy = Driver(), leaf()
    driver.connect("leaf")
    driver.beat()
    assert driver.grafts() == {"leaf"}
    leafy.connect("node")
    (refusal,) = leafy.graft("node")
    driver.say("leaf", Rpc(prune=(refusal,)))
    assert driver.members() == frozenset()
    one = message()
    driver.mesh.publish(one, driver.now)
    driver.take()
    assert driver.receivers(one) == {"leaf"}
