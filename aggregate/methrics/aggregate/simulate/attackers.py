"""Simulates attackers, who use only public knowledge.

- A **flooder** signs well-formed reports of installs that do not exist, each with its own key.
  Nothing distinguishes them from real reports; the table `attack` counts them.
- A **forger** publishes bundles with a fault: in a signature, a value, a time or the encoding. One
  relay belongs to forgers: it adds a forged item to the reports that it received.
- A **replayer** publishes old reports again, while they may still arrive late and after that.
- A **squatter** signs a catalog under the same label with another key, and reports for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from methrics.aggregate.simulate.settings import DAY, Settings
from methrics.aggregate.simulate.transport import LIMITS, Heard, Resting, closes
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_source
from methrics.schema.wire.bundle import pack, pack_notice, unpack
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report

POISONED = 5
"""Of this many bundles of a forger, one is an honest bundle with a forged item added."""

REPLAYED_AT_ONCE = 50
"""Number of old reports in one bundle of a replayer."""

KEPT = 200
"""Number of reports that a replayer keeps of each day."""


class Attackers:
    """All attackers of one simulation; the same settings give the same attacks."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._catalog = catalog
        self._rng = random.Random(f"{settings.seed}/attackers")
        self._kept: list[bytes] = []
        self._forging = 0
        self._squat: Catalog | None = None

    def flood(self, day: int) -> list[Resting]:
        """Make the reports that flooders send to relays on `day`. Relays mix them with others."""
        found = []
        for _ in range(self._settings.flooders):
            handed = day * DAY + self._rng.randrange(DAY)
            raw = self._report(day)
            arrives = closes(handed, self._rng, mix=self._settings.mix)
            found.append(Resting(closes=arrives, id=split(raw).id, raw=raw))
        return found

    def overhear(self, heard: list[Heard]) -> None:
        """Let the replayer keep some items of a day's honest bundles."""
        if not self._settings.replayers:
            return
        items = [raw for one in heard for raw in unpack(one.bundle).items]
        self._kept += self._rng.sample(items, min(KEPT, len(items)))

    def poison(self, heard: list[Heard]) -> tuple[list[Heard], list[Resting]]:
        """Let a forger's relay spoil some bundles of a day by adding a forged item.

        Returns all bundles of the day, and the honest items of the spoiled ones, which another
        relay publishes later on that day.
        """
        count = min(self._settings.forgers // POISONED, len(heard))
        again: list[Resting] = []
        heard = list(heard)
        for place in sorted(self._rng.sample(range(len(heard)), count)):
            good = heard[place]
            about, items = unpack(good.bundle)
            bad = self._spoiled(items[0])
            poisoned = pack(about, [*items, bad])
            heard[place] = Heard(time=good.time, bundle=poisoned, ids=(), kind="poison")
            left = DAY - good.time % DAY if self._settings.mix else LIMITS.batch_window
            for item_id, raw in zip(good.ids, items, strict=True):
                moment = good.time + self._rng.random() * left
                later = int((moment // LIMITS.batch_window + 1) * LIMITS.batch_window)
                again.append(Resting(closes=later, id=item_id, raw=raw))
        return heard, again

    def publish(self, day: int) -> list[Heard]:
        """Make the bundles that forgers, replayers and squatters publish themselves on `day`."""
        rng, settings = self._rng, self._settings
        found = [
            self._heard(day, "forge", [self._forgery(day)])
            for _ in range(settings.forgers - settings.forgers // POISONED)
        ]
        old = rng.choices(self._kept, k=settings.replayers) if self._kept else []
        old = list(dict.fromkeys(old))
        found += [
            self._heard(day, "replay", old[at : at + REPLAYED_AT_ONCE])
            for at in range(0, len(old), REPLAYED_AT_ONCE)
        ]
        found += [self._squatted(day, number) for number in range(settings.squatters)]
        return found

    def _heard(self, day: int, kind: str, items: list[bytes]) -> Heard:
        ids = tuple(split(raw).id for raw in items) if kind == "replay" else ()
        time = day * DAY + self._rng.randrange(DAY)
        return Heard(time=time, bundle=pack(self._catalog.id, items), ids=ids, kind=kind)

    def _report(self, day: int, catalog: Catalog | None = None, **changes: object) -> bytes:
        """Make a heartbeat of an invented install, marked as first of its day, week and month."""
        values: dict[str, object] = {
            "version": f"1.{self._rng.randrange(2, 5)}",
            "os": "freebsd",
            "daily": True,
            "weekly": True,
            "monthly": True,
            "age": 0,
            "country": self._rng.choice(("CH", "NO", "US")),
        }
        named = (catalog or self._catalog).id
        report = replace(Report(named, "heartbeat", day * DAY, values), **changes)  # type: ignore[arg-type]
        return seal(Kind.REPORT, encode_report(report), self._rng.randbytes(32))

    def _forgery(self, day: int) -> bytes:
        self._forging += 1
        kinds: tuple[Callable[[], bytes], ...] = (
            lambda: self._spoiled(self._report(day)),
            lambda: self._report(day, values={"os": "the os of Anna Muster"}),
            lambda: self._report(day, time=day * DAY + 1),
            lambda: self._report(day, type="secrets"),
            lambda: self._rng.randbytes(200),
        )
        return kinds[self._forging % len(kinds)]()

    def _spoiled(self, raw: bytes) -> bytes:
        """Return the item with one bit of its signature flipped."""
        return raw[:-1] + bytes((raw[-1] ^ 1,))

    def _squatted(self, day: int, number: int) -> Heard:
        if self._squat is None:
            raw = sign(parse_source(example_source()), self._rng.randbytes(32))
            self._squat = load(raw)
        if number % 2 == 0:
            bundle = pack_notice(self._squat.raw)
        else:
            bundle = pack(self._squat.id, [self._report(day, self._squat)])
        time = day * DAY + self._rng.randrange(DAY)
        return Heard(time=time, bundle=bundle, ids=(), kind="squat")
