"""Whom the operator trusts, and how many of them a report needs."""

from __future__ import annotations

import pytest
from closing_making import VOTERS
from hypothesis import given
from hypothesis import strategies as st

from methrics.aggregate.closing.trust import TRUSTED_MAX, Trust, majority, trust_of, voter_of
from methrics.node.network.peer_ids import peer_id_of
from methrics.schema.errors import ConfigError

PEERS = [peer_id_of(key) for key in VOTERS[:3]]


def test_the_quorum_is_a_majority_by_default() -> None:
    assert trust_of(PEERS) == Trust(frozenset(VOTERS[:3]), 2)
    assert [majority(range(n)) for n in range(6)] == [1, 1, 2, 2, 3, 3]
    assert trust_of([]) == Trust()


def test_an_address_and_its_peer_id_name_one_voter() -> None:
    found = trust_of([PEERS[0], f"/ip4/192.0.2.1/tcp/4001/p2p/{PEERS[0]}"], 1)
    assert found == Trust(frozenset(VOTERS[:1]), 1)
    assert voter_of(PEERS[0]) == VOTERS[0]
    assert voter_of("QmOther") == b"QmOther"


@pytest.mark.parametrize(
    ("peers", "quorum", "code"),
    [
        (["nobody"], None, "bad-peer-id"),
        ([""], None, "bad-peer-id"),
        (["/ip4/192.0.2.1/tcp/4001"], None, "bad-peer-id"),
        (PEERS, 4, "bad-quorum"),
        ([PEERS[0], PEERS[0]], 2, "bad-quorum"),
        (PEERS, 0, "bad-quorum"),
        (PEERS, -1, "bad-quorum"),
        ([], 1, "bad-quorum"),
        ([peer_id_of(bytes([i]) * 32) for i in range(TRUSTED_MAX + 1)], None, "too-many-peers"),
    ],
)
def test_a_wrong_trust_gets_a_clear_error(peers: list[str], quorum: int | None, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trust_of(peers, quorum)
    assert caught.value.code == code


@given(st.sets(st.sampled_from(VOTERS)), st.integers(1, 3), st.lists(st.sampled_from(VOTERS)))
def test_only_trusted_peers_make_a_quorum_and_each_once(
    trusted: set[bytes], quorum: int, votes: list[bytes]
) -> None:
    assert Trust(frozenset(trusted), quorum).suffices(votes) == (
        len(trusted & set(votes)) >= quorum
    )


def test_the_shards_of_one_aggregator_have_one_vote() -> None:
    found = trust_of([f"{PEERS[0]},{PEERS[1]}", PEERS[2]])
    assert found == Trust(frozenset(VOTERS[:3]), 2, (frozenset(VOTERS[:2]),))
    assert not found.suffices(VOTERS[:2])
    assert not found.suffices([VOTERS[2], VOTERS[3]])
    for shard in VOTERS[:2]:
        assert found.suffices([shard, VOTERS[2]])
    assert trust_of([f"{PEERS[0]},{PEERS[1]}"]).quorum == 1


def test_a_peer_has_no_vote_of_its_own_beside_that_of_its_shards() -> None:
    for peers in ([PEERS[0], f"{PEERS[0]},{PEERS[1]}"], [f"{PEERS[1]},{p}" for p in PEERS[::2]]):
        with pytest.raises(ConfigError) as caught:
            trust_of(peers)
        assert caught.value.code == "twice-trusted"
    with pytest.raises(ConfigError) as caught:
        trust_of([f"{PEERS[0]},{PEERS[1]}"], 2)
    assert caught.value.code == "bad-quorum"
