"""Invented habits of installs: when the app runs on them, and what they report (pure)."""

from __future__ import annotations

import random
from dataclasses import dataclass

DAY, HOUR, MINUTE = 86_400, 3600, 60


@dataclass(frozen=True, slots=True)
class Habits:
    """The invented habits of one install. `hour` None: a server that always runs."""

    number: int
    hour: float | None
    active: float
    length: float
    phase: int
    values: dict[str, dict[str, object]]
    modules: tuple[str, ...]
    age_weeks: int


TOOLS = ("screen_reader", "magnifier", "voice", "switch")


def _skewed(rng: random.Random, values: list[object], tilt: float = 1.1) -> object:
    """A random value; earlier values are more frequent (Zipf)."""
    weights = [1 / (place + 1) ** tilt for place in range(len(values))]
    return rng.choices(values, weights)[0]


def invent(number: int, rng: random.Random) -> Habits:
    """The habits of one install: 3 in 10 are servers, the others people with a usual hour."""
    server = rng.random() < 0.3
    version = f"{rng.choice([1, 2, 2, 2])}.{_skewed(rng, list(range(8)))}"
    system = _skewed(rng, ["linux", "windows", "macos", "freebsd"])
    backend = _skewed(rng, ["postgresql", "sqlite", "mysql", "redis", "memory"])
    modules = ["muc", "presence", "archive", "roster", "push", "vcard", "carbons", "search"]
    country = _skewed(rng, ["US", "DE", "FR", "GB", "IN", "BR", "PL", "JP", "NL", "SE", "IT", "AR"])
    values: dict[str, dict[str, object]] = {
        "heartbeat": {"version": version, "os": system, "country": country},
        "retention": {"os": system},
        "module": {"backend": backend},
        "assistive": {"tool": _skewed(random.Random(f"{number}/tool"), ["none", *TOOLS], 2.5)},
    }
    if server:
        values["system"] = {
            "version": version,
            "os": system,
            "arch": _skewed(rng, ["x86_64", "aarch64", "armv7l"]),
            "cores": _skewed(rng, [4, 8, 2, 16, 1, 64]),
            "cluster": _skewed(rng, [1, 2, 3, 5, 20]),
            "backend": backend,
            "transport": _skewed(rng, ["tls", "websocket", "tcp"]),
        }
        python = _skewed(rng, ["3.12", "3.11", "3.13", "3.10", "3.14"])
        values["runtime"] = {"python": python, "os": system}
    else:
        values["signin"] = {
            "variant": rng.choice("ab"),
            "email_type": _skewed(rng, ["known", "first_time", "federated"]),
        }
        values["client"] = {
            "version": version,
            "language": _skewed(rng, ["en", "de", "fr", "es", "pt", "pl", "ja", "ru"]),
            "screen": _skewed(rng, [1920, 1366, 800, 400]),
            "browser": _skewed(rng, ["chrome", "firefox", "safari", "edge"]),
        }
    return Habits(
        number=number,
        hour=None if server else rng.choice([7.5, 9.0, 9.5, 13.0, 18.0, 20.0, 21.5]) + rng.random(),
        active=rng.uniform(0.55, 0.95),
        length=rng.uniform(15, 150) * MINUTE,
        phase=rng.randrange(HOUR),
        values=values,
        modules=tuple(sorted(rng.sample(modules, rng.randint(1, 4)))),
        age_weeks=rng.choice([0, 1, 3, 8, 20, 60, 120]),
    )


__all__ = ["DAY", "HOUR", "MINUTE", "Habits", "invent"]
