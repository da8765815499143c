"""An independent COSE library verifies the project's items and signs items that it accepts.

`cwt` pins an older cbor2 than ours, so it runs in an environment of its own (`strangers`).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from vector_world import NOW, World, malleable, seed, sign_by_hand

import vectors
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import judge
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import CONTENT_TYPE, DOMAIN, Kind, seal, split, verify
from methrics.schema.wire.verdict import Reason

pytestmark = [pytest.mark.wire, pytest.mark.slow]


def peer(strangers: Path, **order: Any) -> dict[str, list[str]]:
    """Run cose_peer.py, which uses the other library, and return its result."""
    order = {"domain": DOMAIN.hex(), "verify": [], "sign": []} | order
    script = str(Path(__file__).with_name("cose_peer.py"))
    done = subprocess.run(
        [str(strangers), script],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[str]] = json.loads(done.stdout)
    return answer


def test_another_library_verifies_our_items(strangers: Path, world: World) -> None:
    paths = sorted(vectors.FOLDER.glob("ok-*.json"))
    scenarios = [json.loads(path.read_text()) for path in paths]
    items = [scenario["bytes"] for scenario in scenarios if "bytes" in scenario]
    assert len(items) > 10
    found = peer(strangers, verify=items)["verified"]
    assert found == [split(bytes.fromhex(item)).payload.hex() for item in items]


def test_another_library_refuses_forged_items(strangers: Path, world: World) -> None:
    raw = world.report()
    forged = [
        raw[:-1] + bytes([raw[-1] ^ 1]),
        raw.replace(b"dsize\x02", b"dsize\x03"),
        malleable(raw),
        sign_by_hand(raw[3:45], encode(world.body()), domain=b"methrics/2"),
    ]
    found = peer(strangers, verify=[item.hex() for item in forged])["verified"]
    assert found == ["VerifyError"] * len(forged)


def test_items_that_another_library_signs_are_accepted(
    strangers: Path, world: World, book: CatalogBook
) -> None:
    payload = encode(world.body())
    orders = [
        {"seed": seed(name).hex(), "payload": payload.hex(), "content_type": CONTENT_TYPE + 1}
        for name in ("report", "other", "third")
    ]
    signed = [bytes.fromhex(item) for item in peer(strangers, sign=orders)["signed"]]
    for order, raw in zip(orders, signed, strict=True):
        verify(split(raw))
        assert judge(raw, book, NOW).reason is Reason.OK
        assert raw == seal(Kind.REPORT, payload, bytes.fromhex(str(order["seed"])))
