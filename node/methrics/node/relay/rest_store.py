"""Keeps what rests at a relay, and commits the changes of many requests together.

Each request is answered after its commit, whatever it brought, so that the moment of the answer
does not tell whether anything was accepted.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from functools import partial

import trio

from methrics.node.clock import Clock
from methrics.node.process.worker import Threads, Worker, inline
from methrics.node.relay.group_commit import GroupCommit
from methrics.node.relay.rest_file import Changes, MemoryRest, RestFile
from methrics.node.relay.upkeep import Upkeep
from methrics.schema.errors import StoreError

_log = logging.getLogger(__name__)

FLUSH_WITHIN = 1.0
"""Most seconds until what nobody waits for is committed."""

LEAVES_WITHIN = 5.0
"""Seconds for which an item stays on disk after it was handed to the network, which sends it a
moment later. If the process is killed meanwhile, it is published again, and stored once."""

ERASED_MAX = 500_000
"""Most erased reports that are remembered, about 100 bytes of memory and 50 of disk each. Half of
them may be of erasures that came on topics, which strangers can make at no cost."""


class RestStore:
    """The items that rest at one relay, in `file`. Only one trio thread may use it.

    `resting` and `erased` are as of the start; later changes come from `commit` and `later`.
    """

    def __init__(
        self, file: RestFile | None = None, *, clock: Clock, worker: Worker | None = None
    ) -> None:
        self.durable = file is not None
        """Whether what rests outlives the process."""
        self._file = file or MemoryRest()
        self._clock = clock
        self._worker = (worker or Threads(1)) if self.durable else inline
        self._commits = GroupCommit(self._write)
        self._later = Changes()
        self._leaving: list[tuple[float, set[bytes]]] = []
        self._handed = trio.Event()
        self._upkeep = Upkeep(self._remove_traces, "what rests cannot be written")
        self._dirty = trio.Event()
        self.resting, self.erased = self._file.load()

    def knows_erased(self, report_id: bytes) -> bool:
        """Whether the author of this report has erased it, as far as this relay remembers."""
        return report_id in self.erased

    def room_for_erased(self, *, heard: bool) -> bool:
        """Whether another erased report can be remembered. `heard`: from a topic."""
        return len(self.erased) < (ERASED_MAX // 2 if heard else ERASED_MAX)

    async def commit(self, changes: Changes) -> None:
        """Make the changes, together with those of all who call this while another commit runs.
        Returns once they would survive a power cut. Raises StoreError if none of them was made."""
        await self._commits.commit(changes)

    async def _write(self, asked: Sequence[Changes]) -> None:
        later, self._later = self._later, Changes()
        together = Changes()
        for changes in (later, *asked):
            together.add(changes)
        try:
            await self._worker(partial(self._file.write, together))
        except StoreError as error:
            self._upkeep.say(error)
            later.add(self._later)
            self._later = later
            raise
        self._upkeep.untidy = True
        self.erased.update(together.erased)

    def later(self, changes: Changes) -> None:
        """Make changes with the next commit, for which nobody waits. They are repeated until they
        succeed."""
        self._later.add(changes)
        self.erased.update(changes.erased)
        self._dirty.set()

    def left(self, ids: set[bytes]) -> None:
        """Drop items that were handed to the network, once they must have left."""
        self._leaving.append((trio.current_time() + LEAVES_WITHIN, ids))
        self._handed.set()

    def _drop_left(self, until: float) -> None:
        while self._leaving and self._leaving[0][0] <= until:
            self.later(Changes(drops=self._leaving.pop(0)[1]))

    async def _watch_leaving(self) -> None:
        while True:
            await self._handed.wait()
            await trio.sleep(LEAVES_WITHIN)
            self._drop_left(trio.current_time())
            if not self._leaving:
                self._handed = trio.Event()

    async def flush(self) -> None:
        """Commit what waits, if possible; if not, it goes on waiting."""
        with contextlib.suppress(StoreError):
            await self.commit(Changes())

    async def run(self) -> None:
        """Commit what nobody waits for, and remove traces, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._flush)
            nursery.start_soon(self._watch_leaving)
            nursery.start_soon(self._upkeep.run)

    async def _flush(self) -> None:
        while True:
            await self._dirty.wait()
            await trio.sleep(FLUSH_WITHIN)
            self._dirty = trio.Event()
            await self.flush()

    async def tidy(self) -> None:
        """Remove traces of dropped items and of the order of arrival now. A failure is logged."""
        await self._upkeep.tidy()

    async def _remove_traces(self) -> None:
        now = self._clock.now()
        self.erased = {one: until for one, until in self.erased.items() if until > now}
        async with self._commits.using:
            await self._worker(partial(self._file.tidy, now))

    async def close(self) -> None:
        """Commit what waits, remove traces, and close the file."""
        with trio.CancelScope(shield=True):
            self._drop_left(math.inf)
            await self.flush()
            await self.tidy()
            async with self._commits.using:
                await self._worker(self._file.close)
