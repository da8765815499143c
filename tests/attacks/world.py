"""What honest people and strangers sign: reports, bundles, catalogs and records.

The example's namespace key is published, so a test signs in the place of the namespace's owner.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.attacks.peer import Peer

from methrics.node.clock import Clock
from methrics.node.network.peer_ids import key_of
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import seal as seal_box
from methrics.node.ohttp.key_config import KeyConfig, decode_key_config
from methrics.node.publish.known_relays import known_relays, shown
from methrics.node.relay import doors
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_bytes, example_catalog, example_seed, example_source
from methrics.schema.wire.bundle import pack, pack_notice, unpack
from methrics.schema.wire.envelope import Item, Kind, seal
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.record import sign_record

CATALOG = example_catalog()
TOPIC = CATALOG.topic
DAY = 86_400
MONTH = 30 * DAY


def now() -> int:
    return Clock().now()


def report(
    catalog_id: bytes = CATALOG.id, *, day: int = 0, seed: bytes | None = None, **values: Any
) -> bytes:
    """A heartbeat under a key of its own, `day` days from now."""
    time = (now() // DAY + day) * DAY
    body = Report(catalog_id, "heartbeat", time, values or {"os": "linux"})
    return seal(Kind.REPORT, encode_report(body), seed or os.urandom(32))


def reports(count: int) -> list[bytes]:
    return [report() for _ in range(count)]


def bundle(items: Sequence[bytes], about: bytes = CATALOG.id) -> bytes:
    return pack(about, items)


def record(
    catalogs: Sequence[bytes] = (CATALOG.id,), seed: bytes | None = None, **changes: Any
) -> Item:
    """A record that lists catalogs for a month before and after now."""
    times = {"time": now() - 60, "expires": now() + MONTH, **changes}
    return sign_record(catalogs, example_seed() if seed is None else seed, **times)


def other_catalog(number: int, seed: bytes | None = None) -> Catalog:
    """A further catalog of the namespace (or of another key): it differs in its contact."""
    contact = "https://example.org/methrics"
    text = example_source().replace(f'"{contact}"', f'"{contact}/{number}"', 1)
    return load(sign(parse_source(text), seed or example_seed()))


def written(folder: Path, name: str, raw: bytes) -> str:
    """The path of a new file with these bytes."""
    path = folder / name
    path.write_bytes(raw)
    return str(path)


def given(folder: Path, first: Item | None = None) -> list[str]:
    """Options that give a service the example's catalog and record."""
    catalog = written(folder, "catalog.cbor", example_bytes())
    path = written(folder, "record.cbor", (first or record()).raw)
    return ["--catalog", catalog, "--record", path]


async def exit_key(peer: Peer, addr: str) -> KeyConfig:
    """The key of today of the relay at `addr`, at the other end."""
    told = doors.decode_descriptors(await peer.request(doors.DESCRIPTORS, b""))
    own = key_of(addr.rpartition("/p2p/")[2])
    known = known_relays([shown(told.raws, told.time)])
    return decode_key_config(next(one.key for one in known if one.id == own))


async def hand_in(
    peer: Peer, items: Sequence[bytes], addr: str, key: KeyConfig | None = None
) -> list[str]:
    """Hand items to the exit of the relay at `addr`, at the other end; the reasons of its answers.
    An exit that takes none of a request answers `quota`. `key`: the exit's, if it is known."""
    key = key or await exit_key(peer, addr)
    sealed = [seal_box(key, inner.encode_question(inner.BOX, item)) for item in items]
    said: list[str] = []
    for at in range(0, len(sealed), doors.BOXES_MAX):
        asked = sealed[at : at + doors.BOXES_MAX]
        body = doors.encode_exit_request([one.box for one in asked])
        reply = doors.decode_reply(
            await peer.request(doors.EXIT, body, doors.REPLY_MAX), boxes=len(asked)
        )
        answers = [
            str(inner.decode_answer(one.open(raw)).reason)
            for one, raw in zip(asked, reply.answers, strict=bool(reply.answers))
        ]
        said += answers or ["quota"] * len(asked)
    return said


def notice(raw: bytes) -> bytes:
    return pack_notice(raw)


def unpacked(data: bytes) -> list[bytes]:
    """The items of a bundle."""
    return unpack(data).items


RNG = random.Random(9)
"""Chooses what a test may choose freely, the same in each run."""
