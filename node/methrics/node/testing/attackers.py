"""Simulated attackers, each with one behaviour, and none with a mesh that works for others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from methrics.node.mesh.outputs import Send
from methrics.node.mesh.rpc import Graft, IHave, Message, Rpc, Subscription
from methrics.node.testing.participants import Node, Participant, World


class Sybil(Participant):
    """Joins the topic, grafts every peer at once and again in each beat, whatever they answer, and
    passes nothing on. So it behaves as if it were a direct peer of everybody."""

    def linked(self, peer: str, outbound: bool) -> None:
        topic = self.world.topic
        self.send(peer, Rpc(subscriptions=(Subscription(topic, True),), graft=(Graft(topic),)))

    def beat(self) -> None:
        graft = Rpc(graft=(Graft(self.world.topic),))
        for peer in list(self.links):
            self.send(peer, graft)


class Silent(Sybil):
    """Joins the topic, accepts every GRAFT, and passes nothing on."""

    def beat(self) -> None:
        """Do nothing."""


class Withholder(Silent):
    """Offers every message that it gets to all its peers, and sends it to nobody who asks."""

    def __init__(self, world: World, name: str, *, origin: bytes | None = None) -> None:
        super().__init__(world, name, origin=origin)
        self._offered: set[bytes] = set()

    def receive(self, peer: str, rpc: Rpc, size: int) -> None:
        super().receive(peer, rpc, size)
        ids = [one.content for one in rpc.messages]
        ids += [content for have in rpc.ihave for content in have.ids]
        new = tuple(content for content in dict.fromkeys(ids) if content not in self._offered)
        self._offered.update(new)
        if new:
            offer = Rpc(ihave=(IHave(self.world.topic, new),))
            for other in list(self.links):
                self.send(other, offer)


class Sender(Silent):
    """Sends `rate` frames to all peers in each beat; `made` makes each frame."""

    def __init__(
        self, world: World, name: str, *, origin: bytes | None = None, rate: int = 50
    ) -> None:
        super().__init__(world, name, origin=origin)
        self.rate = rate
        self.heard: list[Message] = []

    def receive(self, peer: str, rpc: Rpc, size: int) -> None:
        super().receive(peer, rpc, size)
        self.heard += rpc.messages

    def beat(self) -> None:
        for _ in range(self.rate):
            rpc = self.made()
            if rpc is not None:
                for peer in list(self.links):
                    self.send(peer, rpc)

    def made(self) -> Rpc | None:
        """Return the next frame, or None if there is none."""
        raise NotImplementedError


class Flooder(Sender):
    """Publishes random bytes, each validly signed."""

    size = 1000

    def made(self) -> Rpc:
        data = self.rng.randbytes(self.size)
        return Rpc(messages=(self.world.ledger.sign(self.name, self.world.topic, data),))


class Crowder(Sender):
    """Sends frames full of new messages that honest nodes have to judge and then ignore: their data
    begins with `mark`."""

    mark = b"late"
    per_frame = 16

    def made(self) -> Rpc:
        sign, topic = self.world.ledger.sign, self.world.topic
        data = (self.mark + self.rng.randbytes(100) for _ in range(self.per_frame))
        return Rpc(messages=tuple(sign(self.name, topic, one) for one in data))


class Oversizer(Flooder):
    """Publishes messages that are longer than a message may be."""

    def __init__(self, world: World, name: str, *, origin: bytes | None = None) -> None:
        super().__init__(world, name, origin=origin, rate=1)
        self.size = world.settings.message_max + 1


class Forger(Sender):
    """Sends what it heard with a signature that does not fit, so that the true copy might count as
    known, and invents messages of others."""

    def made(self) -> Rpc:
        topic, noise = self.world.topic, self.rng.randbytes(64)
        if self.heard and self.rng.random() < 0.5:
            return Rpc(messages=(replace(self.heard[-1], signature=noise),))
        return Rpc(messages=(Message(noise[:38], noise, noise[:8], topic, noise),))


class Replayer(Sender):
    """Sends everything that it ever heard, again and again."""

    def made(self) -> Rpc | None:
        return Rpc(messages=(self.rng.choice(self.heard),)) if self.heard else None


class Mutator(Sender):
    """Changes a bit of what it heard, and signs the result as its own message."""

    def made(self) -> Rpc | None:
        if not self.heard:
            return None
        data = bytearray(self.rng.choice(self.heard).data)
        data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        return Rpc(messages=(self.world.ledger.sign(self.name, self.world.topic, bytes(data)),))


class HashFlooder(Sender):
    """Offers contents that do not exist."""

    ids = 1000

    def made(self) -> Rpc:
        ids = tuple(self.rng.randbytes(20) for _ in range(self.ids))
        return Rpc(ihave=(IHave(self.world.topic, ids),))


class Garbler(Silent):
    """Sends bytes that are no frame."""

    def beat(self) -> None:
        for direction in list(self.links.values()):
            for _ in range(10):
                self.world.network.send_bytes(direction, self.rng.randbytes(200))


class Liar(Node):
    """Takes part like an honest node, but drops some of the messages that it should pass on, delays
    others, and sends others twice. `drops`, `delays`, `doubles`: the share of each."""

    honest = False

    def __init__(
        self,
        world: World,
        name: str,
        *,
        drops: float = 0.4,
        delays: float = 0.3,
        doubles: float = 0.3,
        **options: Any,
    ) -> None:
        super().__init__(world, name, **options)
        self._shares = (drops, delays, doubles)

    def transmit(self, output: Send) -> None:
        """Lie about a frame with messages; send all others."""
        if not output.rpc.messages:
            return super().transmit(output)
        drops, delays, doubles = self._shares
        draw = self.rng.random()
        if draw < drops:
            return None
        if draw < drops + delays:
            self.world.network.events.after(5.0, super().transmit, output)
            return None
        if draw < drops + delays + doubles:
            super().transmit(output)
        return super().transmit(output)
