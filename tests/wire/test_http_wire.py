"""A report leaves through the HTTP door of a real relay, by a publisher that never loads libp2p."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from embedded import CATALOG, NAMESPACE, agree, home, program, receipts, run
from real_network import EXAMPLES_SEED, RealNetwork, wait_until

from methrics.node.network.libp2p import open_swarm
from methrics.node.outbox.periods import DAY
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.publish.record_relays import Told, ask_relays, submit_all
from methrics.schema.wire.envelope import split
from methrics.schema.wire.record import decode_record, sign_record

pytestmark = [pytest.mark.wire, pytest.mark.slow]

PUBLISH = """
import json, sys
from methrics.node.publish.launch import main
code = main(sys.argv[1:])
print(json.dumps({
    "code": code, "modules": sorted({name.split(".")[0] for name in sys.modules}),
    "all": sorted(sys.modules), "vendored": "methrics._vendor" in sys.modules,
}))
"""
"""Runs the publisher and prints what it loaded."""

HEAVY = {"multiaddr", "base58", "cryptography", "coincurve", "google", "noise", "httpx", "pyhpke"}
DIRECT = {
    "methrics.node.publish.direct_route",
    "methrics.node.publish.doors.libp2p",
    "methrics.node.relay.mixer",
    "methrics.node.relay.record_exchange",
    "jinja2",
    "click",
    "asyncio",
    "email",
    "http.client",
    "urllib.request",
    "multiprocessing",
}
"""What only other ways or other programs need."""


@pytest.fixture
def http_network(tmp_path: Path) -> Iterator[RealNetwork]:
    folder = tmp_path / "network"
    folder.mkdir()
    with RealNetwork(folder, options=["--http", "127.0.0.1:0"]) as network:
        yield network


def test_a_report_goes_by_http_without_libp2p(
    http_network: RealNetwork, tmp_path: Path, nobody: Path
) -> None:
    paths = home(tmp_path)
    agree(paths, ago=3 * DAY)
    env = {"METHRICS_HOME": paths.data}
    run(program("short_cli.py", "search", "word", earlier=2 * DAY), tmp_path, **env)
    env["METHRICS_RELAYS"] = http_network.url
    command = [sys.executable, "-c", PUBLISH, "--app", NAMESPACE, "--once"]
    found = json.loads(run(command, tmp_path, **env))
    assert found["code"] == 0
    assert not HEAVY & set(found["modules"])
    assert not found["vendored"]
    assert not DIRECT & set(found["all"])
    assert receipts(paths)[0].state == ACKNOWLEDGED
    sql = f"SELECT name, worked FROM {CATALOG.label}.command WHERE name = 'search'"
    wait_until("store it", lambda: http_network.rows(sql) == [("search", True)])


def test_an_owner_gives_a_relay_a_record_by_its_url(
    http_network: RealNetwork,
) -> None:
    record = decode_record(split(http_network.record).payload)
    newer = sign_record(
        [one.catalog for one in record.catalogs],
        EXAMPLES_SEED,
        time=record.time + 600,
        expires=record.expires,
        previous=[split(http_network.record).id],
    )

    async def told() -> list[Told]:
        async with open_swarm() as swarm:
            return await ask_relays([http_network.url], "", CATALOG.short_key, swarm)

    async def given() -> dict[str, str]:
        async with open_swarm() as swarm:
            return await submit_all([http_network.url], [newer.raw, newer.raw], swarm)

    assert [one.raws for one in trio.run(told)] == [(http_network.record,)]
    assert trio.run(given) == {http_network.url: ""}
    assert [one.raws for one in trio.run(told)] == [(newer.raw,)]
