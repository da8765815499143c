"""Drives one mesh by hand: peers that join, frames that arrive, beats that pass."""

from __future__ import annotations

import random
from collections.abc import Iterable

from methrics.node.mesh.core import Mesh
from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import Outcome
from methrics.node.mesh.outputs import Dial, Drop, Judge, Output, Send
from methrics.node.mesh.rpc import (
    Graft,
    IHave,
    IWant,
    Message,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
)
from methrics.schema.wire.verdict import Decision

TOPIC = "methrics/1/shop"


def message(
    text: str = "hello", *, topic: str = TOPIC, signature: bytes = b"signed", size: int = 0
) -> Message:
    """A message; `size`: the bytes of its data, at least those of `text`."""
    return Message(b"sender", text.encode().ljust(size, b"."), b"12345678", topic, signature)


class Driver:
    """A mesh that has joined `TOPIC`, a clock moved by hand, and the last outputs."""

    def __init__(self, settings: MeshSettings | None = None, *, join: bool = True) -> None:
        self.mesh = Mesh(settings)
        self.settings = self.mesh.settings
        self.now = 1000.0
        self.rng = random.Random(7)
        self.outputs: list[Output] = []
        if join:
            self.mesh.join(TOPIC, self.now)
        self.take()

    def take(self) -> list[Output]:
        """The outputs since the last call."""
        self.outputs = self.mesh.take()
        return self.outputs

    def connect(
        self,
        name: str,
        *,
        topics: Iterable[str] = (TOPIC,),
        outbound: bool = False,
        direct: bool = False,
        origin: bytes = b"",
    ) -> None:
        """Connect a peer that has joined `topics`."""
        self.mesh.connected(name, self.now, outbound=outbound, direct=direct, origin=origin)
        self.say(name, Rpc(tuple(Subscription(topic, True) for topic in topics)))

    def crowd(self, count: int, **kind: object) -> list[str]:
        """Connect `count` peers of one kind; return their names."""
        prefix = "out" if kind.get("outbound") else "in"
        names = [f"{prefix}{at}" for at in range(count)]
        for name in names:
            self.connect(name, **kind)  # type: ignore[arg-type]
        return names

    def say(self, peer: str, rpc: Rpc) -> list[Output]:
        """Let a frame arrive; return what follows."""
        self.mesh.frame(peer, rpc, self.now)
        return self.take()

    def graft(self, peer: str) -> list[Prune]:
        """Let a peer graft; return the refusals."""
        self.say(peer, Rpc(graft=(Graft(TOPIC),)))
        return self.prunes(peer)

    def deliver(
        self, peer: str, one: Message, outcome: Outcome | None = Decision.ACCEPT
    ) -> list[Output]:
        """Let a message arrive, and answer with `outcome` if it is to be judged; return what
        follows."""
        outputs = self.say(peer, Rpc(messages=(one,)))
        if outcome is not None and any(isinstance(output, Judge) for output in outputs):
            self.mesh.verdict(one.content, outcome, self.now)
            outputs = [*outputs, *self.mesh.take()]
        self.outputs = outputs
        return outputs

    def beat(self, beats: int = 1) -> list[Output]:
        """Let heartbeats pass; return the outputs of the last one."""
        for _ in range(beats):
            self.now += self.settings.heartbeat
            self.mesh.heartbeat(self.now, self.rng)
            self.take()
        return self.outputs

    def rpcs(self, peer: str) -> list[Rpc]:
        """The frames for a peer among the last outputs."""
        return [one.rpc for one in self.outputs if isinstance(one, Send) and one.peer == peer]

    def judged(self) -> list[Judge]:
        """What is to be judged, among the last outputs."""
        return [one for one in self.outputs if isinstance(one, Judge)]

    def dials(self) -> list[Dial]:
        return [one for one in self.outputs if isinstance(one, Dial)]

    def drops(self) -> list[Drop]:
        return [one for one in self.outputs if isinstance(one, Drop)]

    def receivers(self, one: Message) -> set[str]:
        """The peers that a message is sent to, among the last outputs."""
        return {
            output.peer
            for output in self.outputs
            if isinstance(output, Send) and one in output.rpc.messages
        }

    def told(self, peer: str) -> set[bytes]:
        """The ids that a peer is told, among the last outputs."""
        return {one for rpc in self.rpcs(peer) for ihave in rpc.ihave for one in ihave.ids}

    def asked(self, peer: str) -> set[bytes]:
        """The ids that a peer is asked for, among the last outputs."""
        return {one for rpc in self.rpcs(peer) for iwant in rpc.iwant for one in iwant.ids}

    def grafts(self) -> set[str]:
        """The peers that get a GRAFT, among the last outputs."""
        return {one.peer for one in self.outputs if isinstance(one, Send) and one.rpc.graft}

    def prunes(self, peer: str) -> list[Prune]:
        """The PRUNEs that a peer gets, among the last outputs."""
        return [prune for rpc in self.rpcs(peer) for prune in rpc.prune]

    def pruned(self) -> set[str]:
        """The peers that get a PRUNE, among the last outputs."""
        return {one.peer for one in self.outputs if isinstance(one, Send) and one.rpc.prune}

    def offer(self, peer: str, *ids: bytes) -> set[bytes]:
        """Let a peer offer contents; return those it is asked for."""
        self.say(peer, Rpc(ihave=(IHave(TOPIC, ids),)))
        return self.asked(peer)

    def want(self, peer: str, *ids: bytes) -> list[Message]:
        """Let a peer ask for contents; return the messages it gets."""
        self.say(peer, Rpc(iwant=(IWant(ids),)))
        return [one for rpc in self.rpcs(peer) for one in rpc.messages]

    def rate(self, peer: str, points: float) -> None:
        """Give a peer a score."""
        self.mesh.rate(peer, points)

    def members(self) -> frozenset[str]:
        return self.mesh.mesh_peers(TOPIC)

    def record(self, name: str) -> PeerInfo:
        """Give a peer a signed record."""
        info = PeerInfo(name.encode(), b"record of " + name.encode())
        self.mesh.note_record(name, info.peer_id, info.record)
        return info
