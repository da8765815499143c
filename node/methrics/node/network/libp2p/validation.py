"""Runs validators on messages that the mesh wants to have judged, a bounded number at once."""

from __future__ import annotations

from collections.abc import Callable

import trio

from methrics.node.mesh.core import Mesh
from methrics.node.mesh.outcome import UNSEEN, Outcome
from methrics.node.mesh.outputs import Judge
from methrics.node.network.guards import run_validator
from methrics.node.network.libp2p.contain import contained
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.peer import Peer
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.network.libp2p.signing import validly_signed
from methrics.node.network.swarm import Validator


class Validation:
    """The validators of one swarm, by topic. `dispatch` carries out what the mesh asks for after a
    verdict."""

    def __init__(
        self,
        mesh: Mesh,
        settings: GossipSettings,
        counters: Counters,
        nursery: trio.Nursery,
        dispatch: Callable[[], object],
    ) -> None:
        self.validators: dict[str, Validator] = {}
        self._mesh = mesh
        self._settings = settings
        self._counters = counters
        self._nursery = nursery
        self._dispatch = dispatch
        self._slots = trio.Semaphore(settings.validators_max)

    def is_genuine(self, judge: Judge) -> bool:
        """Verify the signature of a message, and tell the mesh if it is forged. Never waits, so
        that a forged copy does not take the place of the true one while others are judged."""
        if validly_signed(judge.message):
            return True
        self._mesh.forged(judge.forwarder, judge.content, trio.current_time())
        self._dispatch()
        return False

    async def start(self, judge: Judge, peer: Peer | None) -> None:
        """Wait for a free slot, and start the validator of a message that is validly signed.

        While this waits, no bytes are read from `peer`, so its window fills and it must wait, too.
        `peer` is None for a message that is judged again: it counts for no peer.
        """
        slots = [self._slots] if peer is None else [peer.slots, self._slots]
        taken: list[trio.Semaphore] = []
        try:
            for one in slots:
                await one.acquire()
                taken.append(one)
        except trio.Cancelled:
            for one in taken:
                one.release()
            self.give_up(judge)
            raise
        self._nursery.start_soon(contained, self._counters, self._run, judge, taken)

    def give_up(self, judge: Judge) -> None:
        """Forget a message that will not be judged now."""
        self._settle(judge, UNSEEN)

    def start_soon(self, judge: Judge) -> None:
        """Verify a message that no reader waits for, and start its validator."""
        self._nursery.start_soon(contained, self._counters, self._verify_and_start, judge)

    async def _verify_and_start(self, judge: Judge) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_genuine(judge):
            await self.start(judge, None)

    async def _run(self, judge: Judge, taken: list[trio.Semaphore]) -> None:
        validator, limit = self.validators[judge.message.topic], self._settings.validator_time_max
        outcome: Outcome | None = None
        try:
            outcome = await run_validator(validator, judge.forwarder, judge.message, limit)
            if outcome is None:
                self._counters.validator_errors += 1
        finally:
            for one in taken:
                one.release()
            self._settle(judge, UNSEEN if outcome is None else outcome)

    def _settle(self, judge: Judge, outcome: Outcome) -> None:
        self._mesh.verdict(judge.content, outcome, trio.current_time())
        self._dispatch()
