"""Finds which ids of a day two sets do not share, and fetches no item. Pure.

The day's ids are split like those of a session, but both ways, and only until enough are found. The
other set is a peer's, which is asked by requests, or another one on this machine.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from methrics.aggregate.reconcile.fingerprint import IdIndex
from methrics.aggregate.reconcile.tree import LEAF, Claim, check_ids, check_parts
from methrics.aggregate.reconcile.wire import (
    DEPTH_MAX,
    SESSION_SIZE,
    Ids,
    Node,
    PeerFault,
    Split,
    Which,
    encode_ids,
    encode_parts,
    read_ids,
    read_parts,
)

NODES_AT_ONCE = 64
"""Nodes that are split or listed by one request."""

ROUNDS_MAX = 100
"""Most rounds of splitting and listing: a few times what is needed to find some ids of millions."""

Steps = Generator[Split | Ids, bytes, "Unshared"]


@dataclass(slots=True)
class Unshared:
    """Ids of one day that only one side has: some of them, in ascending order."""

    theirs: list[bytes] = field(default_factory=list)
    mine: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Finding:
    """Looks for the ids of a day. `own` are those of this side, and the other side has `count`.

    `session` and `salt`: those of the requests. `most`: ids to find of each side.
    """

    own: IdIndex
    day: int
    count: int
    session: bytes
    salt: bytes
    most: int

    def steps(self) -> Steps:
        """Yield requests, to which the replies are sent, and return what was found. Raises
        PeerFault or SessionEnded."""
        found = Unshared()
        pending = [Claim(Node(self.day, ""), self.count, None)]
        for _ in range(ROUNDS_MAX):
            if self._enough(found.theirs):
                pending = [one for one in pending if self.own.count(one.node.prefix)]
            if not pending or (self._enough(found.theirs) and self._enough(found.mine)):
                break
            batch, pending = pending[:NODES_AT_ONCE], pending[NODES_AT_ONCE:]
            leaves = [one for one in batch if one.count <= LEAF]
            inner = [one for one in batch if one.count > LEAF]
            if inner:
                pending = [*(yield from self._split(inner, found)), *pending]
            if leaves:
                yield from self._list(leaves, found)
        return Unshared(sorted(found.theirs)[: self.most], sorted(found.mine)[: self.most])

    def _enough(self, known: list[bytes]) -> bool:
        return len(known) >= self.most

    def _split(
        self, claims: Sequence[Claim], found: Unshared
    ) -> Generator[Split | Ids, bytes, list[Claim]]:
        """Return the parts that differ; note the own ids of those that the other side lacks."""
        if any(len(one.node.prefix) >= DEPTH_MAX for one in claims):
            raise PeerFault("wrong-counts")
        nodes = tuple(one.node for one in claims)
        reply = yield Split(self.session, self.salt, Which.REPORTS, nodes)
        differing: list[Claim] = []
        for claim, theirs in zip(claims, read_parts(reply, len(claims)), strict=True):
            check_parts(claim, theirs)
            mine = self.own.parts(claim.node.prefix, self.salt)
            for i, (part, own) in enumerate(zip(theirs, mine, strict=True)):
                child = claim.node.child(i)
                if part == own:
                    continue
                if part.count:
                    differing.append(Claim(child, part.count, part.fingerprint))
                else:
                    self._note(found.mine, self.own.ids(child.prefix))
        return differing

    def _list(self, claims: Sequence[Claim], found: Unshared) -> Generator[Ids, bytes, None]:
        nodes = tuple(one.node for one in claims)
        reply = yield Ids(self.session, Which.REPORTS, nodes)
        for claim, ids in zip(claims, read_ids(reply, len(claims)), strict=True):
            check_ids(claim, ids, self.salt)
            there = set(ids)
            self._note(found.theirs, self.own.lacks(ids))
            own = self.own.ids(claim.node.prefix)
            self._note(found.mine, [one for one in own if one not in there])

    def _note(self, known: list[bytes], more: Sequence[bytes]) -> None:
        known += more[: max(0, self.most - len(known))]


def answered(own: IdIndex, request: Split | Ids) -> bytes:
    """Return the reply of a set on this machine that has the ids `own` of the day."""
    if isinstance(request, Split):
        return encode_parts(own.parts(prefix, request.salt) for _, prefix in request.nodes)
    return encode_ids([own.ids(prefix) for _, prefix in request.nodes])


def unshared(theirs: IdIndex, mine: IdIndex, salt: bytes, most: int) -> Unshared:
    """Return ids that only one of two sets on this machine has, at most `most` of each. Whoever
    made the ids must not know the salt."""
    if not len(theirs):
        return Unshared(mine=mine.ids()[:most])
    steps = Finding(mine, 0, len(theirs), bytes(SESSION_SIZE), salt, most).steps()
    request = next(steps)
    while True:
        try:
            request = steps.send(answered(theirs, request))
        except StopIteration as ended:
            found: Unshared = ended.value
            return found
