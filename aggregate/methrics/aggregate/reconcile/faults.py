"""How a session ends early: the peer broke the rules, is busy, or has other ids."""

from __future__ import annotations

from methrics.schema.wire.shard import Shard


class PeerFault(Exception):  # noqa: N818 - what a peer did, not an error of this program
    """A peer broke the rules; `reason` is a word that is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SessionEnded(Exception):  # noqa: N818 - an ordinary end
    """The peer is busy (`seconds` says for how long), or it has ended the session (0)."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class OtherShard(SessionEnded):
    """The peer has not all that it was asked about: only the items of `shard`."""

    def __init__(self, shard: Shard) -> None:
        super().__init__(0)
        self.shard = shard
