"""The relay on real libp2p: its commands, and the data that peers behind it receive (MARS-2)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
from tests.listing import record_of
from tests.node.publish.way_world import route_over
from tests.relay_serving import SEED, serve_relay

import methrics.schema
from methrics.node.clock import Clock, ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.network.libp2p import open_swarm
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import DAY
from methrics.node.outbox.rows import ACKNOWLEDGED, DUE
from methrics.node.paths import namespace_of, user_paths
from methrics.node.publish.direct_route import DirectRoute
from methrics.node.publish.routes import Fate, Outgoing, Route
from methrics.node.publish.ways import WORDS, Gap
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import Relay, RelaySettings
from methrics.schema.catalog.catalog import load
from methrics.schema.example import example_seed
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.record import decode_record
from methrics.schema.wire.verdict import Decision

pytestmark = pytest.mark.wire

SIGNED = Path(methrics.schema.__file__).parent / "example" / "example.cbor"
CATALOG = load(SIGNED.read_bytes())
NAMESPACE = namespace_of(CATALOG.label, CATALOG.short_key)
RECORD = record_of(CATALOG, seed=example_seed())
LISTEN = "/ip4/127.0.0.1/tcp/0"


class Ears:
    """A peer of the topic that keeps every message it gets, and from whom."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.forwarders: set[PeerId] = set()

    @property
    def items(self) -> list[bytes]:
        items = [raw for message in self.messages for raw in unpack(message).items]
        return [raw for raw in items if split(raw).kind is not Kind.RECORD]

    async def __call__(self, peer: PeerId, message: bytes) -> Decision:
        self.forwarders.add(peer)
        self.messages.append(message)
        return Decision.ACCEPT

    async def wait_for(self, count: int) -> None:
        with trio.fail_after(60):
            while len(self.items) < count:
                await trio.sleep(0.05)


def report(number: int) -> tuple[bytes, bytes]:
    time = Clock().now() // 86_400 * 86_400
    payload = encode_report(Report(CATALOG.id, "heartbeat", time, {"os": "linux"}))
    raw = seal(Kind.REPORT, payload, number.to_bytes(32, "big"))
    return split(raw).id, raw


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[Swarm, Relay, Ears]]:
    settings = RelaySettings(
        topics=(CATALOG.topic,), mix=MixLimits(batch_window=0.5, rest=0), spread=0
    )
    ears, book = Ears(), CatalogBook({CATALOG.topic})
    book.records.add(RECORD, decode_record(RECORD.payload))
    async with (
        open_swarm(listen=[LISTEN], seed=SEED) as swarm,
        open_swarm(listen=[LISTEN]) as peer,
        trio.open_nursery() as nursery,
    ):
        relay = await serve_relay(nursery, swarm, book, settings, clock=Clock())
        await peer.join(CATALOG.topic, ears)
        peer.keep(swarm.addrs[0])
        with trio.fail_after(60):
            await swarm.wait_for_peers(CATALOG.topic, 1)
        yield swarm, relay, ears
        nursery.cancel_scope.cancel()


@pytest.mark.shows("MARS-2", "DEB-9", "NEW-6")
async def test_mars_2_the_second_hop_sees_reports_and_no_submitter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", logger="methrics")
    async with scene() as (swarm, relay, ears):
        items = tuple(report(number) for number in range(5))
        async with open_swarm() as app:
            route = route_over(app, swarm.addrs, clock=Clock())
            outcomes = await route.deliver(Outgoing(CATALOG.topic, (CATALOG.raw,), items))
            name = app.peer_id
        assert {one.fate for one in outcomes.values()} == {Fate.ACKNOWLEDGED}
        await ears.wait_for(6)
        assert sorted(ears.items[1:]) == sorted(raw for _, raw in items)
        assert ears.items[0] == CATALOG.raw
        assert ears.forwarders == {swarm.peer_id}
        seen = b"".join(ears.messages)
        assert name.encode() not in seen
        assert b"127.0.0.1" not in seen
        assert bytes([127, 0, 0, 1]) not in seen.replace(CATALOG.raw, b"")
        assert name not in caplog.text
        assert name not in repr(relay.statistics)
        keys = {split(raw).key for _, raw in items}
        assert len(keys) == 5, "no key lasts beyond one report"


@pytest.mark.shows("MARS-2", "KPI-14")
async def test_host_keys_last_for_one_pass() -> None:
    async with open_swarm() as one:
        first = one.peer_id
    async with open_swarm() as two:
        assert two.peer_id != first


async def test_the_direct_route_reaches_the_topic() -> None:
    async with scene() as (swarm, _, ears):
        async with open_swarm() as app:
            route: Route = DirectRoute(app, swarm.addrs)
            outcomes = await route.deliver(Outgoing(CATALOG.topic, (CATALOG.raw,), (report(1),)))
        assert [one.fate for one in outcomes.values()] == [Fate.ACKNOWLEDGED]
        await ears.wait_for(2)
        assert sorted(ears.items) == sorted([CATALOG.raw, report(1)[1]])


async def test_a_dead_relay_is_passed_over() -> None:
    async with scene() as (swarm, _, ears):
        async with open_swarm() as app:
            route = route_over(app, [DEAD, *swarm.addrs], clock=Clock(), timeout=60)
            outcomes = await route.deliver(Outgoing(CATALOG.topic, (CATALOG.raw,), (report(1),)))
        assert [one.fate for one in outcomes.values()] == [Fate.ACKNOWLEDGED]
        await ears.wait_for(2)


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "methrics.aggregate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


async def said(child: subprocess.Popen[str]) -> dict[str, object]:
    """Read the next line of a child's output, which is one JSON object."""
    assert child.stdout is not None
    with trio.fail_after(60):
        line = await trio.to_thread.run_sync(child.stdout.readline, abandon_on_cancel=True)
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def record(home: Path) -> None:
    grant(user_paths(home), NAMESPACE, ["heartbeat", "system"], now=0)
    past = ManualClock(Clock().now() - 10 * DAY)
    settings = RecorderSettings(publisher="none", strict=True)
    with Recorder(CATALOG, user_paths(home), settings, clock=past) as recorder:
        assert recorder.record("heartbeat", os="linux")
        assert recorder.record("system", os="linux", arch="aarch64")


async def test_the_commands_relay_and_publish(tmp_path: Path) -> None:
    """A relay that is stopped publishes nothing early, but after the next start."""
    record(tmp_path)
    (tmp_path / "record.cbor").write_bytes(RECORD.raw)
    ears = Ears()
    serving = ["relay", "--catalog", str(SIGNED), "--record", str(tmp_path / "record.cbor")]
    serving += ["--listen", LISTEN, "--state", str(tmp_path / "state"), "--json"]
    serving += ["--rest", "0s", "--spread", "0s"]
    with command(*serving, "--batch-window", "1h") as relay:
        listening = await said(relay)
        addrs = listening["addrs"]
        assert isinstance(addrs, list)
        async with open_swarm(listen=[LISTEN]) as peer:
            await peer.join(CATALOG.topic, ears)
            peer.keep(addrs[0])
            with trio.fail_after(60):
                await peer.wait_for_peers(CATALOG.topic, 1)
            options = ["--home", str(tmp_path), "--relay", addrs[0], "--once", "--json"]
            with command("publish", *options) as publisher:
                out, err = await trio.to_thread.run_sync(lambda: publisher.communicate(timeout=60))
            assert (publisher.returncode, err) == (0, "")
            lines = [json.loads(line) for line in out.splitlines()]
            assert [line["event"] for line in lines] == ["sent", "sent", "pass", "waiting"]
            assert lines[2]["way"] == WORDS[Gap.RELAY], "the only relay is entry and exit"
            relay.send_signal(signal.SIGTERM)
            while (stopped := await said(relay))["event"] == "counts":
                pass  # each minute
            assert stopped["event"] == "stopped"
            assert (stopped["pooled"], stopped["published"]) == (2, 0)
            assert await trio.to_thread.run_sync(lambda: relay.wait(timeout=60)) == 0
        assert ears.items == []
    with command(*serving, "--batch-window", "0.2s") as relay:
        while "addrs" not in (first := await said(relay)):
            pass  # its port has changed, and its descriptor of today names the one before
        again = first["addrs"]
        assert isinstance(again, list)
        assert again[0].rpartition("/p2p/")[2] == addrs[0].rpartition("/p2p/")[2]
        async with open_swarm(listen=[LISTEN]) as peer:
            await peer.join(CATALOG.topic, ears)
            peer.keep(again[0])
            await ears.wait_for(2)
        assert sorted(raw.hex() for raw in ears.items) == sorted(line["raw"] for line in lines[:2])
        relay.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(lambda: relay.wait(timeout=60)) == 0


async def test_two_relays_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    serving = ["relay", "--catalog", str(SIGNED), "--listen", LISTEN, "--json"]
    with command(*serving) as relay:
        assert (await said(relay))["event"] == "listening"
        with command(*serving) as second:
            out, err = await trio.to_thread.run_sync(lambda: second.communicate(timeout=60))
        assert (second.returncode, out) == (3, "")
        assert "another relay uses" in err
        assert "--state DIR" in err
        relay.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(lambda: relay.wait(timeout=60)) == 0


PUBLISHER = [sys.executable, "-P", "-m", "methrics.node.publisher"]
DEAD = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWJcrdD88SqHwZ4vqkaD2GK8dZzgsNh74PUwVEzkyYhiev"


async def test_publishing_to_a_dead_relay_keeps_everything(tmp_path: Path) -> None:
    record(tmp_path)
    with command("publish", "--home", str(tmp_path), "--relay", DEAD, "--once") as publisher:
        out, err = await trio.to_thread.run_sync(lambda: publisher.communicate(timeout=60))
    assert (publisher.returncode, err) == (4, "")
    assert "postponed 2\n" in out
    assert f"relay {DEAD}: the peer does not answer at that address\n" in out
    states = {one.state for one in Journal(user_paths(tmp_path).outbox(NAMESPACE)).receipts()}
    assert states == {DUE}


async def test_publishing_goes_on_until_a_signal_to_stop(tmp_path: Path) -> None:
    record(tmp_path)
    with command("publish", "--home", str(tmp_path), "--relay", DEAD, "--json") as publisher:
        assert (await said(publisher))["postponed"] == {"unreachable": 2}
        publisher.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(lambda: publisher.wait(timeout=60)) == 0


async def test_the_detached_publisher_takes_its_relays_from_the_environment(tmp_path: Path) -> None:
    record(tmp_path)
    async with scene() as (swarm, _, ears):
        child = subprocess.Popen(
            [*PUBLISHER, "--home", str(tmp_path), "--app", NAMESPACE],
            env=os.environ | {"METHRICS_RELAYS": swarm.addrs[0]},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await trio.to_thread.run_sync(lambda: child.communicate(timeout=60))
        assert (child.returncode, out, err) == (0, b"", b"")
        await ears.wait_for(3)
        states = {one.state for one in Journal(user_paths(tmp_path).outbox(NAMESPACE)).receipts()}
        assert states == {ACKNOWLEDGED}


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["relay"], 2, "--catalog"),
        (["relay", "--catalog", "nowhere.cbor"], 3, "nowhere.cbor"),
        (["relay", "--catalog", str(SIGNED), "--rest", "soon"], 2, "90s"),
        (["relay", "--catalog", str(SIGNED), "--batch-window", "30"], 2, "30s is seconds"),
        (["relay", "--catalog", str(SIGNED), "--peer", "somebody"], 2, "/p2p/"),
        (["relay", "--catalog", str(SIGNED), "--listen", "here"], 2, "here"),
        (["relay", "--topic", "usage"], 2, "/methrics/1/"),
        (["relay", "--catalog", str(SIGNED), "--entry", "somebody"], 2, "12D3KooW"),
        (["relay", "--catalog", str(SIGNED), "--record", "nowhere.cbor"], 3, "nowhere.cbor"),
        (["relay", "--catalog", str(SIGNED), "--record", str(SIGNED)], 3, "no record"),
        (["publish", "--once"], 3, "--relay"),
        (["publish", "--once", "--relay", "somebody"], 3, "/p2p/"),
        (["publish", "--once", "--relay", "/ip4/192.0.2.7/tcp/1/p2p/12D3"], 3, "--home"),
        (["publish", "--route", "direct"], 3, "--peer"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_wrong_command_gets_one_clear_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, hint: str
) -> None:
    from methrics.aggregate.cli.main import main

    assert main(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert hint in said.err


async def test_a_port_in_use_is_reported() -> None:
    async with open_swarm(listen=[LISTEN]) as swarm:
        taken = swarm.addrs[0].partition("/p2p/")[0]
        with command("relay", "--catalog", str(SIGNED), "--listen", taken) as child:
            out, err = await trio.to_thread.run_sync(lambda: child.communicate(timeout=60))
    assert child.returncode == 3
    assert out == ""
    assert err.count("\n") == 1
