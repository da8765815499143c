"""Which addresses that a stranger wrote are dialled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.network.libp2p.reach import Reach, named

PEER = "12D3KooWBTMi6ovWm2eXh4zUwY2QkrtcFPEZncmZD621TneDFd3K"
OTHER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


def dialled(addr: str, reach: Reach = Reach.PUBLIC) -> list[str]:
    return [str(one) for one in named([addr], PEER, reach)]


@pytest.mark.parametrize("addr", ["/ip4/8.8.8.8/tcp/4001", "/ip6/2a00:1450::1/tcp/4001"])
def test_public_addresses_are_dialled_with_or_without_the_peer_id(addr: str) -> None:
    assert dialled(addr) == [addr]
    assert dialled(f"{addr}/p2p/{PEER}") == [addr]
    assert dialled(f"{addr}/p2p/{OTHER}") == []


@pytest.mark.parametrize(
    "addr",
    [
        "/ip4/127.0.0.1/tcp/4001",
        "/ip4/10.0.0.1/tcp/22",
        "/ip4/169.254.169.254/tcp/80",
        "/ip4/192.168.1.1/tcp/80",
        "/ip4/100.64.0.1/tcp/80",
        "/ip4/0.0.0.0/tcp/4001",
        "/ip6/::1/tcp/4001",
        "/ip6/fd00::1/tcp/4001",
        "/ip6/fe80::1/tcp/4001",
        "/ip6/64:ff9b::7f00:1/tcp/4001",
        "/ip6/2002:7f00:1::/tcp/4001",
        "/ip6/::ffff:127.0.0.1/tcp/4001",
        "/dns4/localhost/tcp/4001",
        "/dns/relay.example/tcp/4001",
        "/ip4/8.8.8.8/udp/4001",
        "/ip4/8.8.8.8/tcp/0",
        "/ip4/8.8.8.8/tcp/4001/ws",
        "https://relay.example/",
        "",
    ],
)
def test_attack_no_address_of_the_operators_own_network_is_dialled(addr: str) -> None:
    assert dialled(addr) == []


def test_a_relay_dials_private_addresses_if_it_listens_on_such_only() -> None:
    assert dialled("/ip4/10.0.0.1/tcp/1", Reach.PRIVATE)
    assert not dialled("/ip4/127.0.0.1/tcp/1", Reach.PRIVATE)
    assert dialled("/ip4/127.0.0.1/tcp/1", Reach.LOOPBACK)
    assert not dialled("/ip4/10.0.0.1/tcp/1", Reach.LOOPBACK)


def test_at_most_four_addresses_are_dialled() -> None:
    assert len(named([f"/ip4/8.8.8.8/tcp/{port}" for port in range(1, 9)], PEER, Reach.PUBLIC)) == 4


@given(st.lists(st.text(max_size=60)))
def test_other_text_is_no_address(addrs: list[str]) -> None:
    assert named(addrs, PEER, Reach.PUBLIC) == []
