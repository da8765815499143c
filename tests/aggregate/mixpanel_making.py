"""A Mixpanel raw export of invented people, with the oddities of real ones; fixed by a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DAY = 86_400
START = 1_772_409_600
"""2026-03-02, a Monday."""

SYSTEMS = ("Windows", "Mac OS X", "Linux", "Android")
PLACES = ("DE", "FR", "PL", "US", "BR")
PLANS = ("free", "solo", "team")
STEPS = ("Sign-in shown", "Email Given", "Signed In")
SECRET = "Rosebud Lane"


class Person:
    """A person with one distinct_id, and the properties on all their events."""

    def __init__(self, n: int, rng: random.Random) -> None:
        self.rng = rng
        self.id = f"user-{n}@example.org"
        self.begins = rng.randrange(0, 20)
        self.keen = rng.choice((0.15, 0.4, 0.85))
        self.always = {
            "$os": SYSTEMS[min(rng.randrange(6), 3)],
            "mp_country_code": PLACES[min(rng.randrange(8), 4)],
            "$app_version_string": "2.4.1",
            "$city": SECRET,
            "$device_id": f"{rng.getrandbits(128):032x}",
            "$insert_id": "",
            "mp_lib": "web",
            "language": rng.choice(("en", "de", "fr", "pl")),
        }

    def event(self, name: str, time: float, **properties: object) -> dict[str, Any]:
        """One event as an export has it."""
        own = {"time": int(time), "distinct_id": self.id, **self.always}
        own["$insert_id"] = f"{self.rng.getrandbits(96):024x}"
        own["mp_processing_time_ms"] = int(time * 1000) + 1234
        return {"event": name, "properties": {**own, **properties}}

    def day(self, midnight: int) -> Iterator[dict[str, Any]]:
        """A person's events of one day, all between 1:00 and 23:00 UTC."""
        rng = self.rng
        time = midnight + rng.randrange(3600, 12 * 3600)
        self.always["$app_version_string"] = "2.4.1" if midnight < START + 20 * DAY else "2.5.0"
        if rng.random() < 0.6:
            reached = rng.choice((1, 2, 2, 3, 3, 3))
            for step in STEPS[:reached]:
                yield self.event(step, time, Variant=rng.choice("ab"))
                time += rng.randrange(1, 90)
        for _ in range(rng.randrange(4, 14)):
            time += rng.randrange(10, 900)
            yield self.event(
                "Song Played",
                time,
                Genre=rng.choice(("jazz", "rock", "folk", "Neue Musik")),
                Title=f"song {rng.randrange(100_000)}",
            )
        if rng.random() < 0.5:
            time += 60
            yield self.event(
                "Report Exported",
                time,
                Plan=PLANS[min(rng.randrange(5), 2)],
                Seconds=round(rng.lognormvariate(1.5, 1.0), 2),
                Pages=rng.randrange(1, 6),
                Trial=rng.random() < 0.3,
                email=self.id,
                count=rng.randrange(1, 2000),
                note=None,
                tags=["a", "b"],
                path=f"https://example.org/{SECRET}/{rng.randrange(10**6)}",
                order=rng.randrange(10**11, 10**12),
                Always="same",
                Address=SECRET,
            )


def events(people: int = 60, days: int = 40, seed: int = 1) -> list[dict[str, Any]]:
    """All events, in the order of an export."""
    found = []
    for n in range(people):
        person = Person(n, random.Random(f"{seed}/{n}"))
        for day in range(person.begins, days):
            if day == person.begins or person.rng.random() < person.keen:
                found += person.day(START + day * DAY)
    found.sort(key=lambda one: one["properties"]["time"])
    return found


def odd_lines(some: dict[str, Any]) -> list[bytes]:
    """Other lines of real exports; 3 of them are events, one of them twice."""
    who = {"time": START + 5000, "distinct_id": "odd-one", "$insert_id": "same"}
    rare = {"event": "Rare Event", "properties": who}
    written = [
        {"event": "$identify", "properties": {**who, "$anon_id": "a", "$identified_id": "b"}},
        {"event": "$merge", "properties": {**who, "$distinct_ids": ["a", "b"]}},
        {"event": "$create_alias", "properties": {**who, "alias": "c"}},
        rare,
        rare,
        {"event": "Nobody's", "properties": {"time": (START + 5000) * 1000, "distinct_id": ""}},
        {"event": "No time", "properties": {"distinct_id": "x"}},
        {"event": "Long ago", "properties": {**who, "time": 12}},
        {"event": 5, "properties": {}},
        {"event": "No properties"},
        ["no", "event"],
        {"event": "Too long", "properties": {**who, "text": "x" * 1_100_000}},
    ]
    lines = [json.dumps(one).encode() for one in written]
    lines += [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"event": "\\ud800", "properties": 1}']
    lines += [json.dumps(some).encode()[:-20], b"terminated early"]
    return lines


BROKEN = {
    "identity": 3,
    "no-time": 2,
    "no-event": 4,
    "oversize": 1,
    "not-json": 4,
    "terminated-early": 1,
}
"""Reason -> refused lines of `odd_lines`."""


def write(path: Path, found: list[dict[str, Any]], *extra: bytes) -> Path:
    """An export file."""
    with path.open("wb") as file:
        for line in (*(json.dumps(one).encode() for one in found), *extra):
            file.write(line + b"\n")
    return path
