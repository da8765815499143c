"""Real processes, each on a host of its own: what each host sees, and what it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.namespaces import Host, Lab, wait_until, why_not
from tests.lab.packets import packets
from tests.lab.scene import Scene, contents_of, files_with, reports_of, stored

pytestmark = [pytest.mark.wire, pytest.mark.slow]

APPS = ("app-1", "app-2", "app-3")
ENTRIES, EXITS = ("entry-1", "entry-2"), ("exit-1", "exit-2")
SINK = "aggregator"
EACH = 8
"""Events of an app."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Eight hosts: their network loses a little, and one cable is slow."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Lab(tmp_path, [*APPS, *ENTRIES, *EXITS, SINK]) as found:
        found.throttle(EXITS[1], kbit=2000)
        yield found


def seen_by(lab: Lab, name: str) -> set[str]:
    """The addresses of the packets that came or went at a host."""
    found = packets(lab.captures[name].read_bytes())
    return {address for one in found for address in (one.source, one.target)}


def traces_of(hosts: list[Host]) -> dict[str, bytes]:
    """All forms of the addresses of hosts."""
    return {name: one for host in hosts for name, one in host.traces().items()}


def test_attack_no_host_sees_both_the_address_and_the_report(lab: Lab) -> None:
    scene, hosts = Scene(lab), lab.hosts
    apps = [hosts[name] for name in APPS]
    sink = scene.aggregate(hosts[SINK])
    peers = ["--peer", scene.address(hosts[SINK], sink)]
    exits = []
    for name in EXITS:
        exits.append(scene.relay(hosts[name], "--role", "exit", *peers))
        peers += ["--peer", scene.address(hosts[name], exits[-1])]
    entries = [scene.relay(hosts[name], "--role", "entry", *peers) for name in ENTRIES]
    addresses = [
        scene.address(hosts[name], one) for name, one in zip(ENTRIES, entries, strict=True)
    ]

    # Apps reach entries, but these reach no exit until the network is whole again.
    lab.cut(ENTRIES, EXITS)
    running = [scene.app(host, addresses, EACH * number, EACH) for number, host in enumerate(apps)]
    for one in running:
        one.wait_for("acknowledged 0")
    lab.lose(2)
    for one in running:
        one.finish()
    reports = {name: raw for host in apps for name, raw in reports_of(host).items()}
    assert len(reports) == EACH * len(APPS)
    wait_until("store every report", lambda: stored(hosts[SINK]) == reports.keys(), 120)

    traces, contents = traces_of(apps), contents_of(dict([*reports.items()][::EACH]))
    for one in (*exits, sink):
        assert one.memory_has(traces) == set()
    assert sink.memory_has(contents), "the search finds nothing that is there"
    for one in (*exits, *entries, sink):
        one.stop()
    own = {host.address for host in apps}
    for name in (*EXITS, SINK):
        assert seen_by(lab, name) & own == set()
        assert files_with(hosts[name].folder, traces) == set()
    assert any(seen_by(lab, name) & own for name in ENTRIES), "the search finds nothing"
    for name in ENTRIES:
        assert files_with(hosts[name].folder, traces | contents) == set()
