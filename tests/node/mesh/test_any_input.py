"""Any interleaving of inputs, of strangers above all, keeps the promises of the mesh."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from mesh_making import TOPIC, message

from methrics.node.mesh.core import Mesh
from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import UNSEEN, Outcome, Wait
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

SETTINGS = MeshSettings(
    degree=3,
    degree_low=2,
    degree_high=5,
    degree_out=1,
    degree_score=2,
    history=8,
    seen_ttl=30.0,
    judging_max=6,
    judging_per_peer=4,
    judging_direct=3,
    judging_waited=4,
    judging_portion=0.5,
    forwarders_max=4,
    copies_max=2,
    judging_time=40.0,
    waiting_bytes=10_000,
    waiting_least=1000,
    waiting_per_peer=3,
    waiting_bytes_per_peer=4000,
    waiting_time=20.0,
    promises_max=10,
    promises_per_peer=4,
    promises_unknown=2,
    offers_max=5,
    offers_total=8,
    offers_crowded=3,
    asked_max=2,
    topics_max=2,
    retained_max=3,
    resent_peers_max=4,
    backoffs_max=4,
    graylisted_max=3,
    exchange_max=2,
    connections_aim=8,
)
PEERS = [f"peer{at}" for at in range(9)]
ORIGINS = [b"", b"home", b"crowd"]
TOPICS = [TOPIC, "two", "three"]
TEXTS = [f"text{at}" for at in range(14)]
CONTENTS = [message(text, topic=topic).content for text in TEXTS for topic in TOPICS]

peers = st.sampled_from(PEERS)
topics = st.sampled_from([*TOPICS, TOPIC, TOPIC])
ids = st.lists(st.sampled_from([*CONTENTS, bytes(20), b"short"]), max_size=6).map(tuple)
some_messages = st.builds(
    lambda text, topic, signature, size: message(text, topic=topic, signature=signature, size=size),
    st.sampled_from(TEXTS),
    topics,
    st.sampled_from([b"signed", b"forged", b"other"]),
    st.sampled_from([0, 0, 0, 3000, SETTINGS.message_max + 1]),
)
infos = st.builds(
    lambda at, size: PeerInfo(b"%d" % at, bytes(size)),
    st.integers(0, 20),
    st.sampled_from([0, 10, 10_000]),
)
outcomes: st.SearchStrategy[Outcome] = st.sampled_from(
    [*Decision, Decision.ACCEPT, Decision.ACCEPT, Wait(b"a"), Wait(b"b"), UNSEEN]
)


def several(one: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(one, max_size=3).map(tuple)


frames = st.builds(
    Rpc,
    subscriptions=several(st.builds(Subscription, topics, st.booleans())),
    messages=several(some_messages),
    ihave=several(st.builds(IHave, topics, ids)),
    iwant=several(st.builds(IWant, ids)),
    graft=several(st.builds(Graft, topics)),
    prune=several(
        st.builds(
            Prune,
            topics,
            st.sampled_from([0, 1, 60, 2**64 - 1]),
            st.lists(infos, max_size=4).map(tuple),
        )
    ),
)


class Machine(RuleBasedStateMachine):
    """Two meshes with the same inputs, and what is expected of them."""

    def __init__(self) -> None:
        super().__init__()
        self.mesh, self.twin = Mesh(SETTINGS), Mesh(SETTINGS)
        self.rng, self.twin_rng = random.Random(3), random.Random(3)
        self.now = 100.0
        self.connected: dict[str, bool] = {}
        self.joined: set[str] = set()
        self.judges: dict[bytes, Judge] = {}
        self.sends: list[Send] = []
        self.untold: dict[tuple[bytes, str], int] = {}
        self.resent: Counter[tuple[str, bytes]] = Counter()
        self.outputs: list[Output] = []

    def both(self, method: str, *args: object, **kwargs: object) -> object:
        """Call a method of both meshes and compare what follows."""
        result = getattr(self.mesh, method)(*args, **kwargs)
        assert getattr(self.twin, method)(*args, **kwargs) == result
        self._look()
        return result

    def _look(self) -> None:
        self.outputs = self.mesh.take()
        assert self.outputs == self.twin.take()
        for output in self.outputs:
            match output:
                case Send(peer, rpc):
                    assert peer in self.connected
                    assert not (self.connected[peer] and (rpc.prune or rpc.graft))
                    self.sends.append(output)
                    for one in rpc.messages:
                        self.untold.pop((one.content, peer), None)
                case Judge(content, one, forwarder):
                    assert content not in self.judges
                    assert one.content == content
                    assert forwarder in PEERS
                    self.judges[content] = output
                case Dial(peer_id, record):
                    assert peer_id
                    assert 0 < len(record) <= SETTINGS.record_max
                case Drop(peer):
                    assert self.mesh.score(peer) < 0
        del self.sends[:-20]

    def _note_accepted(self, one: Message, known_to: set[str]) -> None:
        """Expect that every topic peer is sent the message or told its id within the window."""
        sent = {
            output.peer
            for output in self.outputs
            if isinstance(output, Send)
            and any(sent.content == one.content for sent in output.rpc.messages)
        }
        for peer in self.mesh.topic_peers(one.topic) - sent - known_to:
            if one.topic in self.joined and not self.connected[peer]:
                self.untold.setdefault((one.content, peer), SETTINGS.window)

    @initialize(direct=st.booleans())
    def start(self, direct: bool) -> None:
        self.join(TOPIC)
        for at, peer in enumerate(PEERS[:6]):
            self.connect(peer, at % 2 == 0, direct and at == 0, ORIGINS[at % 3])
            self.frame(peer, Rpc((Subscription(TOPIC, True),)))

    @rule(topic=topics)
    def join(self, topic: str) -> None:
        self.joined.add(topic)
        self.both("join", topic, self.now)

    @rule(topic=topics)
    def leave(self, topic: str) -> None:
        self.joined.discard(topic)
        left = {message(text, topic=topic, size=n).content for text in TEXTS for n in (0, 3000)}
        self.untold = {key: n for key, n in self.untold.items() if key[0] not in left}
        self.both("leave", topic, self.now)

    @rule(peer=peers, outbound=st.booleans(), direct=st.booleans(), origin=st.sampled_from(ORIGINS))
    def connect(self, peer: str, outbound: bool, direct: bool, origin: bytes) -> None:
        self.connected[peer] = direct
        self.both("connected", peer, self.now, outbound=outbound, direct=direct, origin=origin)

    @rule(peer=peers)
    def disconnect(self, peer: str) -> None:
        self.both("disconnected", peer, self.now)
        self.connected.pop(peer, None)

    @rule(peer=peers, rpc=frames)
    def frame(self, peer: str, rpc: Rpc) -> None:
        self.both("frame", peer, rpc, self.now)
        for output in self.outputs:
            if isinstance(output, Send):
                for one in output.rpc.messages:
                    self.resent[output.peer, one.content] += 1

    @rule(peer=peers, one=some_messages)
    def deliver(self, peer: str, one: Message) -> None:
        judging = one.content in self.mesh._delivery.judging
        known = self.mesh._delivery.knows(one.content)
        before = self.mesh.statistics().limited
        self.frame(peer, Rpc(messages=(one,)))
        judged = any(isinstance(output, Judge) for output in self.outputs)
        assert not (known and judged)
        full = self.mesh.statistics().limited > before
        if peer in self.connected and one.topic in self.joined and not judging and not known:
            ignored = not self.connected[peer] and (self.mesh.score(peer) < SETTINGS.graylist_below)
            fits = len(one.data) <= SETTINGS.message_max
            assert judged or full or ignored or not fits

    @rule(peer=peers, first=st.integers(0, 1000), direct=st.booleans())
    def offer(self, peer: str, first: int, direct: bool) -> None:
        invented = tuple(at.to_bytes(20, "big") for at in range(first, first + 5))
        self.frame(peer, Rpc(ihave=(IHave(TOPIC, invented),)))

    @precondition(lambda self: self.judges)
    @rule(data=st.data(), outcome=outcomes)
    def verdict(self, data: st.DataObject, outcome: Outcome) -> None:
        judge = self.judges.pop(data.draw(st.sampled_from(list(self.judges.values()))).content)
        entry = self.mesh._delivery.judging.get(judge.content)
        self.both("verdict", judge.content, outcome, self.now)
        if outcome is Decision.ACCEPT and entry is not None:
            self._note_accepted(judge.message, set(entry.forwarders))

    @precondition(lambda self: self.judges)
    @rule(data=st.data())
    def forged(self, data: st.DataObject) -> None:
        judge = self.judges.pop(data.draw(st.sampled_from(list(self.judges.values()))).content)
        self.both("forged", judge.forwarder, judge.content, self.now)

    @rule(on=st.sampled_from([b"a", b"b", b"c"]))
    def again(self, on: bytes) -> None:
        waiting = self.mesh.statistics().waiting
        found = self.both("again", on, self.now)
        assert self.mesh.statistics().waiting == waiting - found  # type: ignore[operator]
        assert on not in self.mesh.waits() or not self.mesh._delivery.judging.room

    @rule(one=some_messages)
    def publish(self, one: Message) -> None:
        self.judges.pop(one.content, None)
        sent = self.both("publish", one, self.now)
        assert sent == len(self.outputs)
        self._note_accepted(one, set())

    @precondition(lambda self: self.sends)
    @rule(data=st.data())
    def unsent(self, data: st.DataObject) -> None:
        send = data.draw(st.sampled_from(self.sends))
        self.sends.remove(send)
        kept = self.mesh._gossip._recent
        self.both("unsent", send, self.now)
        for one in send.rpc.messages:
            before = self.resent[send.peer, one.content]
            self.resent[send.peer, one.content] = max(0, before - 1)
            if one.content in kept and send.peer in self.mesh.topic_peers(one.topic):
                self.untold[one.content, send.peer] = 1

    @rule(peer=peers, points=st.sampled_from([-1000.0, -30.0, -1.0, 0.0, 3.0, 30.0]))
    def rate(self, peer: str, points: float) -> None:
        self.both("rate", peer, points)

    @rule(peer=peers)
    def blame(self, peer: str) -> None:
        self.both("blame", peer, self.now)

    @rule(peer=peers)
    def renewed(self, peer: str) -> None:
        self.both("renewed", peer)

    @rule(peer=peers, info=infos)
    def note_record(self, peer: str, info: PeerInfo) -> None:
        self.both("note_record", peer, info.peer_id, info.record)

    @rule(beats=st.integers(1, 4), pause=st.sampled_from([0.0, 0.0, 0.5, 50.0]))
    def heartbeats(self, beats: int, pause: float) -> None:
        self.now += pause
        for _ in range(beats):
            self.now += 1.0
            self._forget_excused()
            self.mesh.heartbeat(self.now, self.rng)
            self.twin.heartbeat(self.now, self.twin_rng)
            self._look()
            self._check_told()
            for topic in TOPICS:
                for peer in self.mesh.mesh_peers(topic):
                    assert self.mesh.score(peer) >= 0
        delivery = self.mesh._delivery
        self.judges = {c: judge for c, judge in self.judges.items() if c in delivery.judging}
        kept = self.mesh._gossip._recent
        self.resent = Counter({key: n for key, n in self.resent.items() if key[1] in kept})

    def _forget_excused(self) -> None:
        """Forget what need not be told: the peer has gone, or its score is too low."""
        kept = self.mesh._gossip._recent

        def due(content: bytes, peer: str) -> bool:
            message = kept.get(content)
            if message is None or peer not in self.mesh.topic_peers(message.topic):
                return False
            return self.connected[peer] or self.mesh.score(peer) >= SETTINGS.gossip_least

        self.untold = {key: beats for key, beats in self.untold.items() if due(*key)}

    def _check_told(self) -> None:
        low = {peer for peer in self.connected if self.mesh.score(peer) < SETTINGS.gossip_least}
        for output in self.outputs:
            if isinstance(output, Send):
                for ihave in output.rpc.ihave:
                    for content in ihave.ids:
                        self.untold.pop((content, output.peer), None)
        self.untold = {key: beats - 1 for key, beats in self.untold.items() if key[1] not in low}
        kept = self.mesh._gossip._recent
        late = [key for key, beats in self.untold.items() if beats <= 0 and key[0] in kept]
        assert late == []

    @invariant()
    def every_message_is_accounted_for(self) -> None:
        counts = self.mesh.statistics()
        judging = len(self.mesh._delivery.judging)
        assert counts.received == judging + sum(
            (
                counts.duplicates,
                counts.accepted,
                counts.ignored,
                counts.rejected,
                counts.unseen,
                counts.waiting,
                counts.waiting_dropped,
                counts.limited,
                counts.malformed,
            )
        )

    @invariant()
    def what_is_judged_has_a_judge(self) -> None:
        assert set(self.mesh._delivery.judging) <= set(self.judges)

    @invariant()
    def meshes_hold_connected_subscribed_peers_that_are_not_direct(self) -> None:
        for topic in TOPICS:
            members = self.mesh.mesh_peers(topic)
            assert members <= self.mesh.topic_peers(topic) <= set(self.connected)
            assert not any(self.connected[peer] for peer in members)
            assert not members or topic in self.joined

    @invariant()
    def no_message_is_sent_again_too_often(self) -> None:
        # One more than the limit, as the mesh may have sent it before.
        assert all(count <= SETTINGS.resend_max + 1 for count in self.resent.values())

    @invariant()
    def all_state_is_bounded(self) -> None:
        mesh, state = self.mesh, self.mesh._state
        room, promises = mesh._delivery.room, mesh._promises
        assert room.size <= SETTINGS.waiting_bytes
        assert all(len(one.waiters) <= 3 for one in room._by_peer.values())
        judging = mesh._delivery.judging
        assert judging._strangers.used <= SETTINGS.judging_max
        assert judging._direct.used <= SETTINGS.judging_direct
        assert judging._waited.used <= SETTINGS.judging_waited
        for places in (judging._strangers, judging._direct, judging._waited):
            assert places.used == sum(places._peers.values())
        assert len(promises) <= SETTINGS.promises_max
        assert state.retained() <= SETTINGS.retained_max
        for peer in state.peers.values():
            assert len(peer.promised) <= SETTINGS.promises_per_peer
            assert len(peer.topics) <= SETTINGS.topics_max
            assert all(content in promises for content in peer.promised)
        for topic in state.topics.values():
            assert len(topic.backoff) <= SETTINGS.backoffs_max
            assert len(topic.beats) <= SETTINGS.history
            assert set(topic.direct) | set(topic.fresh) <= set(topic.peers)
        assert promises.offers == sum(len(one.offers) for one in promises._open.values())
        waiters = room._waiters.values()
        assert all(len(one.offers) <= SETTINGS.offers_max for one in waiters)
        for held in (*waiters, *(judging.get(content) for content in judging)):
            assert held is not None
            assert len(held.forwarders) <= SETTINGS.forwarders_max
            assert len(held.others) <= SETTINGS.forwarders_max
        for kept in mesh._gossip._recent._kept.values():
            assert len(kept.resent) <= SETTINGS.resent_peers_max
            assert all(kept.resent.values())
        for promise in promises._open.values():
            assert len(promise.offers) <= SETTINGS.offers_max
            assert len(promise.asked) <= SETTINGS.asked_max


Machine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
TestAnyInput = Machine.TestCase
