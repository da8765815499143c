"""The route over relays: every item, sealed, goes to up to two of them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import trio

from methrics.node.network.swarm import Swarm
from methrics.node.publish.relay_client import REQUEST_TIME, Answers, RelayClient
from methrics.node.publish.routes import (
    BY_CLOCK,
    HELD,
    UNREACHABLE,
    Fate,
    Outcome,
    Outgoing,
    of_all,
    outcome_of,
)
from methrics.node.publish.standing import heads_of
from methrics.schema.errors import ConfigError, RemoteError, UnreachableError
from methrics.schema.wire.topic import parse_topic
from methrics.schema.wire.verdict import Reason

RELAYS_AT_A_TIME = 2
"""Relays that get each item. One is not enough, because it may fail or lie; and each further relay
learns this machine's address."""

RELAYS_MORE = 1
"""Further relays that each of these two may be replaced by, if it refused an item for a reason that
depends on its clock, or because it is full."""

_ELSEWHERE = BY_CLOCK | {Reason.QUOTA}
"""Reasons of a refusal for which another relay is tried."""


class RelayRoute:
    """Sends every item, sealed, to up to two of the relays at `addrs`.

    `unusable` is filled with the relays that could not be used, by address: why, in words.
    """

    name = "relay"

    def __init__(
        self,
        swarm: Swarm,
        addrs: Sequence[str],
        *,
        rng: random.Random,
        timeout: float = REQUEST_TIME,
        unusable: dict[str, str] | None = None,
    ) -> None:
        if not addrs:
            raise ConfigError(
                "no-relay", "no relay is known", "give one with --relay, or METHRICS_RELAYS"
            )
        self._timeout = timeout
        self._unusable = {} if unusable is None else unusable
        self._clients = {addr: RelayClient(swarm, addr, timeout) for addr in addrs}
        self._order = rng.sample(list(self._clients.values()), len(self._clients))

    async def records(self, topic: str, known: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        """See `Route`. Relays are asked in random order until two have answered or none is left.
        The two that answered also get the items. The only relay of a person gets no record: it
        could recognise the one that it made for this person."""
        waiting, found = list(self._order), list[RelayClient]()

        async def visit() -> None:
            while waiting:
                client = waiting.pop()
                if not await self._in_time(client, partial(client.describe, topic)):
                    continue
                if client.peer not in {one.peer for one in found}:
                    found.append(client)
                    return

        async with trio.open_nursery() as nursery:
            for _ in range(RELAYS_AT_A_TIME):
                nursery.start_soon(visit)
        held = {client.addr: (await client.description(topic)).records for client in found}
        told = [raw for raws in held.values() for raw in raws]
        newest = heads_of([*known, *told], parse_topic(topic)[1])

        async def level(client: RelayClient) -> None:
            lacking = {raw: raw for raw in newest if raw not in held[client.addr]}
            if lacking:
                await self._in_time(client, partial(client.hand, topic, lacking))

        if len(self._clients) > 1:
            async with trio.open_nursery() as nursery:
                for client in found:
                    nursery.start_soon(level, client)
        self._order = [one for one in self._order if one not in found] + found
        return [held[client.addr] for client in found]

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        """See `Route`. Relays are tried in random order until two have answered or none is left.
        A relay that refuses items because of its clock, or because it is full, is replaced by
        another for these items."""
        answered: dict[bytes, list[Outcome]] = {item_id: [] for item_id, _ in outgoing.items}
        waiting = list(self._order)

        async def visit() -> None:
            items, answers = dict(outgoing.items), 0
            while waiting and items and answers <= RELAYS_MORE:
                client = waiting.pop()
                try:
                    said = await self._hand_to(client, items, outgoing)
                except RemoteError as error:
                    self._unusable[client.addr] = error.message
                    continue
                answers += 1
                for item_id in items:
                    reason = said.reasons.get(item_id)
                    again = said.again if reason is Reason.QUOTA else 0
                    answered[item_id].append(
                        HELD if reason is None else replace(outcome_of(reason), again=again)
                    )
                items = {i: raw for i, raw in items.items() if said.reasons.get(i) in _ELSEWHERE}

        async with trio.open_nursery() as nursery:
            for _ in range(min(RELAYS_AT_A_TIME, len(waiting))):
                nursery.start_soon(visit)
        return {
            item_id: of_all(outcomes, unanswered=Outcome(Fate.RETRY, UNREACHABLE))
            for item_id, outcomes in answered.items()
        }

    async def _hand_to(
        self, client: RelayClient, items: Mapping[bytes, bytes], outgoing: Outgoing
    ) -> Answers:
        """Hand the items to one relay, and the record or the catalog if it lacks them. Raises
        RemoteError if the relay cannot be used."""
        topic, leave = outgoing.topic, outgoing.leave
        with self._time_limit():
            described = await client.description(topic)
            outgoing.told(client.time)
            if described.again:
                return Answers(dict.fromkeys(items, Reason.QUOTA), described.again)
            said = await client.hand(topic, items, leave)
            for reason, notices in (
                (Reason.UNLISTED, outgoing.records),
                (Reason.UNKNOWN_CATALOG, (*outgoing.records, outgoing.catalog)),
            ):
                refused = {i: raw for i, raw in items.items() if said.reasons.get(i) is reason}
                if refused and notices:
                    await client.hand(topic, {raw: raw for raw in notices})
                    more = await client.hand(topic, refused, leave)
                    said = Answers(said.reasons | more.reasons, max(said.again, more.again))
            return said

    async def _in_time(self, client: RelayClient, ask: Callable[[], Awaitable[object]]) -> bool:
        """Return whether the relay answered; if not, note why."""
        try:
            with self._time_limit():
                await ask()
        except RemoteError as error:
            self._unusable[client.addr] = error.message
            return False
        return True

    @contextmanager
    def _time_limit(self) -> Iterator[None]:
        """Raise UnreachableError if the body takes longer than a relay may."""
        try:
            with trio.fail_after(self._timeout):
                yield
        except trio.TooSlowError:
            raise UnreachableError("too-slow", "the relay did not answer in time") from None
