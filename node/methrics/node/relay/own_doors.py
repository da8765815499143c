"""What a relay says of itself, and the keys that go with it: its parts that other relays see."""

from __future__ import annotations

import logging
from random import Random

import trio

from methrics.node.clock import Clock, Entropy, system_entropy
from methrics.node.network.peer_ids import key_of
from methrics.node.network.swarm import Swarm
from methrics.node.ohttp.key_config import KeyConfig
from methrics.node.relay.day_keys import DayKeys, Files
from methrics.node.relay.descriptor_exchange import DescriptorExchange, ExchangeLimits
from methrics.node.relay.directory import Directory
from methrics.node.relay.door_service import DoorParts
from methrics.node.relay.own_descriptor import OwnDescriptor, Said, announced
from methrics.node.relay.settings import RelaySettings
from methrics.schema.errors import StoreError
from methrics.schema.wire.envelope import public_key
from methrics.schema.wire.limits import DAY

TEND_EVERY = 3600.0
"""Seconds between two looks for keys that no box needs any more."""

DRIFT = 60.0
"""Seconds by which the machine's clock may move otherwise than time, in `TEND_EVERY`, so that the
day that it shows is believed. A clock that was set may be wrong."""

_log = logging.getLogger(__name__)


class OwnDoors:
    """The descriptors and the day keys of the relay with the Ed25519 seed `seed` (32 bytes), which
    is the seed of its peer id.

    `files` keeps them; None keeps them in memory alone, which is for tests. `entropy` draws the
    day keys. Raises ConfigError
    `bad-descriptor` if the settings do not fit a descriptor; StoreError.
    """

    def __init__(
        self,
        swarm: Swarm,
        settings: RelaySettings,
        seed: bytes,
        *,
        files: Files | None,
        clock: Clock,
        rng: Random,
        limits: ExchangeLimits | None = None,
        entropy: Entropy = system_entropy,
    ) -> None:
        self._clock = clock
        self._keys = DayKeys(files, entropy=entropy)
        relay = public_key(seed)
        said = Said(
            settings.roles,
            announced(swarm.addrs, settings.announce, relay),
            settings.topics,
            settings.operator,
        )
        self.own = OwnDescriptor(files, seed, self._keys, said)
        named = [key for key in map(key_of, settings.named) if key is not None]
        self.exchange = DescriptorExchange(
            swarm,
            Directory((relay, *named)),
            clock=clock,
            rng=rng,
            own=self.own.of,
            topics=settings.topics,
            limits=limits,
        )
        self.parts = DoorParts(
            keys=lambda: self._keys.opening(clock.now()),
            addresses=self.exchange.addresses,
            descriptors=self.exchange.descriptors,
        )

    def configs(self) -> list[KeyConfig]:
        """Return the key configurations of today, to seal for."""
        key = self._keys.of(self._clock.now() // DAY)
        return [] if key is None else [key.config]

    def _say_older(self) -> None:
        """Tell the operator, once, if settings differ from what the relay has said of today."""
        try:
            older = self.own.is_older(self._clock.now() // DAY)
        except StoreError:
            return  # the exchange says it
        if older:
            _log.warning(
                "what the relay says of today was said with other settings (addresses, roles, "
                "topics or operator), and must not change: the new ones take effect with the next "
                "day (UTC) of which it has said nothing"
            )

    async def run(self) -> None:
        """Exchange descriptors, and erase old keys, until cancelled."""
        self._say_older()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.exchange.run)
            nursery.start_soon(self._tend)

    async def _tend(self) -> None:
        while True:
            wall, since = self._clock.now(), trio.current_time()
            try:
                self._keys.opening(wall)
                await trio.sleep(TEND_EVERY)
                now = self._clock.now()
                if abs((now - wall) - (trio.current_time() - since)) <= DRIFT:
                    self._keys.erase(now)
                    self.own.erase(now // DAY)
            except StoreError as error:
                _log.warning("the relay's keys cannot be kept up to date: %s", error)
                await trio.sleep(TEND_EVERY)
