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
RELAYS = ("relay-1", "relay-2")
SINK = "aggregator"
EACH = 8
"""Events of an app."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """The hosts: their network loses a little, and one cable is slow."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Lab(tmp_path, [*APPS, *RELAYS, SINK]) as found:
        found.throttle(RELAYS[1], kbit=2000)
        yield found


def seen_by(lab: Lab, name: str) -> set[str]:
    """The addresses of the packets that came or went at a host."""
    found = packets(lab.captures[name].read_bytes())
    return {address for one in found for address in (one.source, one.target)}


def traces_of(hosts: list[Host]) -> dict[str, bytes]:
    """All forms of the addresses of hosts."""
    return {name: one for host in hosts for name, one in host.traces().items()}


def test_attack_who_collects_everything_finds_no_address_of_an_app(lab: Lab) -> None:
    scene, hosts = Scene(lab), lab.hosts
    apps = [hosts[name] for name in APPS]
    sink = scene.aggregate(hosts[SINK])
    collects = scene.address(hosts[SINK], sink)
    relays = [scene.relay(hosts[name], "--peer", collects) for name in RELAYS]
    addresses = [scene.address(hosts[name], one) for name, one in zip(RELAYS, relays, strict=True)]

    # Apps reach the relays, but what these publish reaches nobody until the network is whole.
    lab.cut(RELAYS, [SINK])
    running = [scene.app(host, addresses, EACH * number, EACH) for number, host in enumerate(apps)]
    for one in running:
        one.finish()
    assert stored(hosts[SINK]) == set()
    lab.lose(2)
    reports = {name: raw for host in apps for name, raw in reports_of(host).items()}
    assert len(reports) == EACH * len(APPS)
    wait_until("store every report", lambda: stored(hosts[SINK]) == reports.keys(), 120)

    traces, contents = traces_of(apps), contents_of(dict([*reports.items()][::EACH]))
    assert sink.memory_has(traces) == set()
    assert sink.memory_has(contents), "the search finds nothing that is there"
    for one in (*relays, sink):
        one.stop()
    own = {host.address for host in apps}
    assert seen_by(lab, SINK) & own == set()
    assert seen_by(lab, RELAYS[0]) & own, "the search finds nothing that is there"
    for name in (*RELAYS, SINK):
        assert files_with(hosts[name].folder, traces) == set()
