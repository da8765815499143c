"""Which addresses a relay says are its own."""

from __future__ import annotations

import pytest

from methrics.node.network.peer_ids import peer_id_of
from methrics.node.relay.own_descriptor import announced
from methrics.schema.wire.envelope import public_key
from methrics.schema.wire.limits import DOORS_MAX

RELAY = public_key(b"r" * 32)
END = f"/p2p/{peer_id_of(RELAY)}"
HOME, NEAR, WORLD = (f"/ip4/{host}/tcp/1{END}" for host in ("127.0.0.1", "10.0.0.1", "5.9.0.1"))
URL = "https://relay.example/"


@pytest.mark.parametrize(
    ("listening", "given", "expected"),
    [
        ([HOME, NEAR, WORLD], [], [WORLD]),
        ([HOME, NEAR], [], [HOME, NEAR]),
        ([HOME, WORLD], ["/dns4/relay.example/tcp/1"], [f"/dns4/relay.example/tcp/1{END}"]),
        ([HOME, WORLD], [URL, "/ip4/5.9.0.2/tcp/1"], [URL, f"/ip4/5.9.0.2/tcp/1{END}"]),
        ([HOME, WORLD], [URL], [URL, WORLD]),
    ],
    ids=["public", "private", "a name", "both kinds", "a URL"],
)
def test_a_relay_names_what_others_can_reach(
    listening: list[str], given: list[str], expected: list[str]
) -> None:
    assert announced(listening, given, RELAY) == tuple(expected)


def test_a_relay_with_many_networks_names_some() -> None:
    many = [f"/ip4/10.0.0.{number}/tcp/1{END}" for number in range(DOORS_MAX + 3)]
    assert announced(many, [URL], RELAY) == (URL, *many[: DOORS_MAX - 1])
