"""Random items and bundles, and what their judge knows and when, in the form of the vectors."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any

import cbor2
from nacl.signing import SigningKey
from tests.interop.mutations import damaged, mutated
from tests.interop.signatures import again, by_hand, header, unusual

from methrics.schema.catalog.regions import COUNTRIES, LANGUAGES
from methrics.schema.wire.envelope import split, zero_bits

REPORT, ERASURE, CATALOG, RECORD, ANNOUNCEMENT = range(1, 6)
DAY = 86_400
WORK_MAX = 6
"""Bits of work stamps that a test can afford."""
OFTEN, SELDOM = 0.5, 0.1


def encoded(value: Any) -> bytes:
    return cbor2.dumps(value, canonical=True)


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """A catalog and the key that signed it."""

    seed: bytes
    content: dict[str, Any]
    raw: bytes
    id: bytes
    topic: str


def chance(rng: Random, probability: float) -> bool:
    return rng.random() < probability


class Generator:
    """Makes scenarios around a list of namespaces; the same `rng` makes the same ones."""

    def __init__(self, rng: Random, namespaces: list[Namespace]) -> None:
        self.rng = rng
        self.namespaces = namespaces

    def scenario(self) -> dict[str, Any]:
        """An item or a bundle, and what its judge knows: bytes as hex digits."""
        rng = self.rng
        one = rng.choice(self.namespaces)
        time = self._time(one, rng.choice(list(one.content["types"].values())))
        made = [self._item(one, time) for _ in range(rng.choice([1, 1, 1, 2, 5]))]
        known = [n.raw for n in self.namespaces if n is one and not chance(rng, SELDOM)]
        records = [self._in_force(one, time) for _ in range(rng.choice([0, 1, 1, 1, 1, 2, 3]))]
        seen = [raw for raw, valid in made if valid and chance(rng, 0.2)]
        if len(made) == 1 and chance(rng, 0.8):
            subject = {"bytes": made[0][0].hex()}
        else:
            subject = {"bundle": self._bundle(one, [raw for raw, _ in made]).hex()}
        return {
            "now": time + self._distance(),
            "live": chance(rng, 0.7),
            "topic": self._topic(one),
            "catalogs": [raw.hex() for raw in known],
            "records": [raw.hex() for raw in records],
            "seen": [raw.hex() for raw in seen],
            **subject,
        }

    def _topic(self, one: Namespace) -> str | None:
        other = self.rng.choice(self.namespaces).topic
        relabelled = "/methrics/1/other-" + one.topic.rsplit("-", 1)[1]
        return self.rng.choice([None, None, *[one.topic] * 6, other, relabelled])

    def _distance(self) -> int:
        """Seconds from an item's time to its judge's clock."""
        near = [-301, -300, -299, -601, 0, 1, 599, 600, 3600, DAY, 30 * DAY, 366 * DAY, 367 * DAY]
        return self.rng.choice([*near, self.rng.randrange(400 * DAY)])

    def _time(self, one: Namespace, declared: dict[str, Any]) -> int:
        step = declared["resolution"]
        end = declared["expires"]
        time = self.rng.choice([end - step, end, self.rng.randrange(1_700_000_000, 1_900_000_000)])
        return max(0, time // step * step + self.rng.choice([0] * 9 + [600]))

    def _bundle(self, one: Namespace, items: list[bytes]) -> bytes:
        """A bundle of the items: as one of their kinds should be, or any."""
        rng = self.rng
        if chance(rng, 0.2):
            again, at = rng.choice(items), rng.randrange(len(items) + 1)
            items = [*items[:at], again, *items[at:]]
        if chance(rng, 0.7):
            parts = [raw for raw in items if _names_catalog(raw)]
            items = parts or items[:1]
        about = one.id if _names_catalog(items[0]) else b""
        if chance(rng, SELDOM):
            about = rng.choice([b"", bytes(31), bytes(32), rng.choice(self.namespaces).id])
        raw = encoded([about, *items])
        return damaged(rng, raw) if chance(rng, 0.15) else raw

    def _item(self, one: Namespace, time: int) -> tuple[bytes, bool]:
        """The bytes of an item, and whether one that came before can be the same."""
        make = self.rng.choice([
            self._report, self._report, self._report, self._erasure, self._catalog,
            self._record, self._announcement,
        ])  # fmt: skip
        return make(one, time)

    def _finished(
        self, kind: int, body: dict[str, Any], seed: bytes, work: int = 0
    ) -> tuple[bytes, bool]:
        """The item of a body: as it is, or with one part of it damaged before or after signing."""
        rng = self.rng
        whole = {"body": 25, "payload": 8, "key": 8, "headers": 4, "again": 3, "bytes": 7, "": 45}
        (part,) = rng.choices(list(whole), list(whole.values()))
        payload = encoded(mutated(rng, body) if part == "body" else body)
        headers: Any = header(kind, bytes(SigningKey(seed).verify_key))
        if part == "payload":
            payload = damaged(rng, payload)
        if part == "key":
            return unusual(rng, kind, payload), False
        if part == "again":
            return again(rng, kind, payload, seed), False
        if part == "headers":
            return by_hand(self._other_headers(headers), payload, seed), False
        if work and not chance(rng, 0.3):
            return self._stamped(headers, payload, seed), False
        if chance(rng, 0.03):
            headers["work"] = rng.choice([0, 23, 24, 2**64 - 1])
        raw = by_hand(headers, payload, seed)
        if part == "bytes":
            return damaged(rng, raw), False
        return raw, part == "" and "work" not in headers

    def _other_headers(self, headers: dict[Any, Any]) -> Any:
        """Headers with one of them changed, missing or added."""
        changed = mutated(self.rng, {str(key): value for key, value in headers.items()})
        if not isinstance(changed, dict):
            return changed
        numbers = {str(key): key for key in headers}
        return {numbers.get(key, key): value for key, value in changed.items()}

    def _stamped(self, headers: dict[Any, Any], payload: bytes, seed: bytes) -> bytes:
        """With the first nonce that gives enough zero bits, or nearly enough."""
        nonce = 0
        wanted = self.rng.choice([WORK_MAX, WORK_MAX, WORK_MAX - 1])
        while True:
            raw = by_hand({**headers, "work": nonce}, payload, seed)
            if zero_bits(sha256(split(raw).signed).digest()) >= wanted:
                return raw
            nonce += 1

    def _report(self, one: Namespace, time: int) -> tuple[bytes, bool]:
        rng = self.rng
        name, declared = rng.choice(list(one.content["types"].items()))
        body: dict[str, Any] = {
            "catalog": one.id,
            "type": name,
            "time": time // declared["resolution"] * declared["resolution"],
            "values": {
                field["name"]: self._value(field)
                for field in declared["fields"]
                if not chance(rng, 0.1)
            },
        }
        if "count" in declared and not chance(rng, SELDOM):
            most = declared["count"]["max"]
            body["count"] = rng.choice([1, most, most + 1, rng.randint(1, most)])
        if "sequence" in declared and not chance(rng, SELDOM):
            body["sequence"] = self._steps(declared["sequence"])
        rate = rng.choice(declared["one_in"])
        if rate != 1:
            body["one_in"] = rate
        return self._finished(REPORT, body, rng.randbytes(32), min(declared["work"], WORK_MAX))

    def _steps(self, declared: dict[str, Any]) -> list[list[Any]]:
        rng = self.rng
        last = len(declared["offset_edges"]) + (1 if chance(rng, SELDOM) else 0)
        size = declared["max_steps"] + (1 if chance(rng, SELDOM) else 0)
        offsets = [rng.randint(0, last) for _ in range(rng.randint(1, size))]
        if not chance(rng, SELDOM):
            offsets.sort()
        return [[rng.choice(declared["steps"]), offset] for offset in offsets]

    def _value(self, field: dict[str, Any]) -> Any:
        rng = self.rng
        if chance(rng, 0.03):
            return mutated(rng, rng.choice(["other", True, 3]))
        match field["type"]:
            case "flag":
                return chance(rng, OFTEN)
            case "bucket":
                return rng.randint(0, len(field["edges"]))
            case "count":
                return rng.randint(0, field["max"])
            case "version":
                parts = ".".join(str(rng.randint(0, most)) for most in field["max"])
                return rng.choice([parts, "other"])
            case "country":
                return rng.choice([*field.get("values", sorted(COUNTRIES)), "ZZ"])
            case "language":
                return rng.choice([*field.get("values", sorted(LANGUAGES)), "other"])
            case _:
                return rng.choice([*field["values"], "other"])

    def _erasure(self, one: Namespace, time: int) -> tuple[bytes, bool]:
        body = {"catalog": one.id, "inner": self.rng.randbytes(32), "day": time // DAY}
        return self._finished(ERASURE, body, self.rng.randbytes(32))

    def _catalog(self, one: Namespace, time: int) -> tuple[bytes, bool]:
        if chance(self.rng, 0.3):
            return self._finished(CATALOG, self._at_a_limit(one.content), one.seed)[0], False
        return self._finished(CATALOG, one.content, one.seed)

    def _at_a_limit(self, content: dict[str, Any]) -> dict[str, Any]:
        """The content with one type near its entropy budget, or near the size limit of reports."""
        rng = self.rng
        name = rng.choice(list(content["types"]))
        declared = content["types"][name]
        choice = rng.random()
        if choice < 0.4:
            changed = {**declared, "entropy_bits": rng.randrange(30)}
        elif choice < 0.6:
            changed = self._many(declared)
        else:
            added = [
                {"name": f"{at:02}".replace("0", "a").rjust(32, "b"), "type": "enum", "says": "x"}
                | {"values": ["w" * rng.randint(24, 32)]}
                for at in range(rng.randint(12, 14))
            ]
            changed = {**declared, "fields": added, "kind": "event", "chart": "line"}
            changed["release"] = {"delay": 300, "jitter": 0}
            changed = {key: one for key, one in changed.items() if key not in ("count", "sequence")}
        return {**content, "types": {**content["types"], name: changed}}

    def _many(self, declared: dict[str, Any]) -> dict[str, Any]:
        """The type with about as many different reports as are allowed."""
        rng = self.rng
        changed = {key: one for key, one in declared.items() if key not in ("count", "sequence")}
        changed |= {"kind": rng.choice(["event", "count", "sequence"]), "fields": []}
        changed |= {"chart": "line", "release": {"delay": 300, "jitter": 0}, "entropy_bits": 28}
        changed["one_in"] = rng.choice([[1], [1], [1, 2]])
        if changed["kind"] == "count":
            most = 2**28 // len(changed["one_in"]) + rng.choice([-1, 0, 1])
            changed["count"] = {"max": most, "window": 600}
        elif changed["kind"] == "sequence":
            steps = ["a", "b", "c"][: rng.randint(1, 3)]
            edges = [5, 60][: rng.randint(0, 2)]
            most = rng.randint(9, 32)
            changed["sequence"] = {"steps": steps, "offset_edges": edges, "max_steps": most}
        else:
            most = [511, rng.randint(250, 512), rng.randint(1000, 1030)]
            field = {"name": "v", "type": "version", "says": "x", "max": most}
            changed["fields"] = [field]
        return changed

    def _in_force(self, one: Namespace, time: int) -> bytes:
        """A record of about that time that is known beforehand."""
        key = bytes(SigningKey(one.seed).verify_key)
        body = self._record_body(one, time)
        return by_hand(header(RECORD, key), encoded(body), one.seed)

    def _record(self, one: Namespace, time: int) -> tuple[bytes, bool]:
        return self._finished(RECORD, self._record_body(one, time), one.seed)

    def _record_body(self, one: Namespace, time: int) -> dict[str, Any]:
        rng = self.rng
        near = [time + distance for distance in (-DAY, -600, -1, 0, 1, 599, 600, 601, DAY)]
        listing: dict[str, Any] = {"catalog": one.id, "listed": rng.choice([0, 0, 0, *near])}
        if chance(rng, 0.2):
            listing["delisted"] = max(listing["listed"] + 1, rng.choice(near))
        others = [{"catalog": rng.randbytes(32), "listed": time} for _ in range(rng.randrange(3))]
        listed = [listing, *others] if chance(rng, 0.9) else others
        start = max(0, rng.choice([0, time - DAY, time - 1, time, time + 1]))
        body: dict[str, Any] = {
            "time": start,
            "expires": max(start + 1, rng.choice([time, time + 1, *[time + 500 * DAY] * 6])),
            "previous": sorted(rng.randbytes(32) for _ in range(rng.choice([0, 1, 1, 2, 4]))),
            "catalogs": sorted(listed, key=lambda entry: entry["catalog"]),
            "revoked": {},
        }
        if chance(rng, 0.3):
            name = rng.choice(list(one.content["types"]))
            since = max(0, time // 600 * 600 + rng.choice([-600, 0, 600]))
            body["revoked"][name] = {"time": since, "reason": rng.choice(["A reason.", "z" * 200])}
        optional: dict[str, Any] = {
            "next": rng.randbytes(32),
            "issuers": [rng.randbytes(32)] * rng.randint(0, 8),
            "results": "https://example.org/results",
            "later": [True],
        }
        if start:
            optional["settled"] = rng.choice([0, start - 1])
        return body | {key: value for key, value in optional.items() if chance(rng, SELDOM)}

    def _announcement(self, one: Namespace, time: int) -> tuple[bytes, bool]:
        rng = self.rng
        start = time // 600 * 600
        body: dict[str, Any] = {"time": start, "expires": start + rng.choice([0, 600, DAY])}
        optional: dict[str, Any] = {
            "news": [{"text": "News.", "url": "https://example.org/", "x": [1]}]
            * rng.randint(0, 9),
            "newest_version": "1.2",
            "report_interval": rng.choice([0, DAY - 1, DAY, 2**64 - 1]),
            "relays": ["/ip4/192.0.2.1/tcp/1"] * rng.randint(0, 9),
            "selector": {"os": ["linux", "macos"][: rng.randint(0, 2)], "version": []},
            "later": {"a": [True, b"x"]},
        }
        body |= {key: value for key, value in optional.items() if chance(rng, OFTEN)}
        return self._finished(ANNOUNCEMENT, body, one.seed)


def _names_catalog(raw: bytes) -> bool:
    """Whether the bytes look like a report or an erasure."""
    return raw[8:10] in (b"\xfd\xe9", b"\xfd\xea")
