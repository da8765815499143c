"""Whose word counts about days that are over: the peers that the operator names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from methrics.node.network.peer_ids import key_of
from methrics.schema.errors import ConfigError

TRUSTED_MAX = 64
"""Most peers that an operator trusts: each of them may ask for room for contested reports."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The voters (see `voter_of`), and how many of them must have a report.

    The voters of a group are the shards of one aggregator: none of them can have all reports, so
    together they have one vote. Without voters, no report of a day that is over is ever added.
    """

    voters: frozenset[bytes] = frozenset()
    quorum: int = 1
    groups: tuple[frozenset[bytes], ...] = ()

    def suffices(self, votes: Iterable[bytes]) -> bool:
        """Tell whether these voters are enough. A voter or group counts once; strangers do not
        count."""
        found = self.voters.intersection(votes)
        joined = sum(not group.isdisjoint(found) for group in self.groups)
        return len(found.difference(*self.groups)) + joined >= self.quorum


def voter_of(peer: str) -> bytes:
    """Return a peer's name as a voter: the key of its peer id (32 bytes), with which it signs its
    manifests. For an id that holds no key, it is the text of the id."""
    return key_of(peer) or peer.encode()


def majority(voters: Collection[object]) -> int:
    """Return the least number that is more than half of `voters`; 1 without any."""
    return len(voters) // 2 + 1


def trust_of(peers: Sequence[str], quorum: int | None = None) -> Trust:
    """Return the trust in `peers`, which are peer ids or addresses that end in one, or several of
    them with commas between: the shards of one aggregator.

    `quorum` is a majority by default. Raises ConfigError: bad-peer-id, bad-quorum, too-many-peers,
    and twice-trusted for a peer that would have a vote of its own and share in one.
    """
    named = {frozenset(map(_key, peer.split(","))) for peer in peers}
    voters = frozenset[bytes]().union(*named)
    groups = tuple(sorted((one for one in named if len(one) > 1), key=sorted))
    if sum(map(len, named)) > len(voters):
        raise ConfigError("twice-trusted", "a peer is named by two --trust, with other shards")
    if len(voters) > TRUSTED_MAX:
        raise ConfigError("too-many-peers", f"at most {TRUSTED_MAX} peers can be trusted")
    if quorum is None:
        return Trust(voters, majority(named), groups)
    if quorum < 1:
        raise ConfigError(
            "bad-quorum", f"a quorum of {quorum} would let anyone add to days that are over"
        )
    if not voters:
        raise ConfigError("bad-quorum", "a quorum needs peers", "name them with --trust PEER")
    if quorum > len(named):
        raise ConfigError(
            "bad-quorum",
            f"a quorum of {quorum} of {len(named)} trusted peers can never be reached",
            "name more peers with --trust PEER",
        )
    return Trust(voters, quorum, groups)


def _key(peer: str) -> bytes:
    key = key_of(peer.rpartition("/p2p/")[2])
    if key is None:
        raise ConfigError(
            "bad-peer-id",
            f"{peer[:80]!r} is not the id of a peer with an Ed25519 key",
            "it looks like 12D3KooW...; `methrics aggregate` prints its own when it starts",
        )
    return key
