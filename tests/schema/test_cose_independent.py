"""An independent COSE library reads our items and writes items that we accept.

`cwt` pins an older cbor2 than ours, so it runs in an environment of its own, made once in pytest's
cache; after that the test needs no network.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
from vector_world import NOW, World, malleable, seed, sign_by_hand

import vectors
from methrics.schema.book import CatalogBook
from methrics.schema.codec import encode
from methrics.schema.envelope import CONTENT_TYPE, DOMAIN, Kind, seal, split, verify
from methrics.schema.judge import judge
from methrics.schema.verdict import Reason

pytestmark = [pytest.mark.wire, pytest.mark.slow]

REQUIREMENT = "cwt==3.3.0"


def failure(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines() or ["no message"]
    return lines[-1][:200]


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of an environment in which cwt is installed."""
    assert request.config.cache is not None
    home = Path(request.config.cache.mkdir("cose"))
    interpreter = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    probe = [str(interpreter), "-c", "import cwt"]
    if interpreter.exists() and subprocess.run(probe, check=False).returncode == 0:
        return interpreter
    venv.create(home, with_pip=True, clear=True)
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", REQUIREMENT]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"pip cannot install {REQUIREMENT}: {failure(done)}")
    return interpreter


def peer(python: Path, **order: Any) -> dict[str, list[str]]:
    """What the other library makes of an order (see cose_peer.py)."""
    order = {"domain": DOMAIN.hex(), "verify": [], "sign": []} | order
    script = str(Path(__file__).with_name("cose_peer.py"))
    done = subprocess.run(
        [str(python), script], input=json.dumps(order), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[str]] = json.loads(done.stdout)
    return answer


def test_another_library_verifies_our_items(python: Path, world: World) -> None:
    paths = sorted(vectors.FOLDER.glob("ok-*.json"))
    scenarios = [json.loads(path.read_text()) for path in paths]
    items = [scenario["bytes"] for scenario in scenarios if "bytes" in scenario]
    assert len(items) > 10
    found = peer(python, verify=items)["verified"]
    assert found == [split(bytes.fromhex(item)).payload.hex() for item in items]


def test_another_library_refuses_what_we_call_forged(python: Path, world: World) -> None:
    raw = world.report()
    forged = [
        raw[:-1] + bytes([raw[-1] ^ 1]),
        raw.replace(b"dsize\x02", b"dsize\x03"),
        malleable(raw),
        sign_by_hand(raw[3:45], encode(world.body()), domain=b"methrics/2"),
    ]
    found = peer(python, verify=[item.hex() for item in forged])["verified"]
    assert found == ["VerifyError"] * len(forged)


def test_we_accept_what_another_library_signs(
    python: Path, world: World, book: CatalogBook
) -> None:
    payload = encode(world.body())
    orders = [
        {"seed": seed(name).hex(), "payload": payload.hex(), "content_type": CONTENT_TYPE + 1}
        for name in ("report", "other", "third")
    ]
    signed = [bytes.fromhex(item) for item in peer(python, sign=orders)["signed"]]
    for order, raw in zip(orders, signed, strict=True):
        verify(split(raw))
        assert judge(raw, book, NOW).reason is Reason.OK
        assert raw == seal(Kind.REPORT, payload, bytes.fromhex(str(order["seed"])))
