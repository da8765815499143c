"""The mesh: whether messages reach everybody, and what that costs each node.

    python benchmarks/bench_mesh.py [--quick | --smoke] [--scale]

All but the star is simulated: the real mesh core in one process, under virtual time, with bundles
of 4 KiB. In the network of 1,000 nodes each node has dialled eight others, one connection in a
hundred swallows all frames, and one node in five is a sybil that joins, accepts and passes nothing
on. In the eclipse, 60 sybils connect to a node before it dials three honest ones. `--scale` prints
only the tables of docs/scale.md.

star_delivered      real sockets: two relays, 40 listeners on the first alone, half of the bundles
                    published by the second; share of deliveries that happened (aim 1.0)
delivered_1000      the same share for the honest ones of 1,000 nodes (aim at least 0.999)
eclipse_delivered   the same share for the node among 60 sybils (aim 1.0)
amplification       bytes that an honest node of the 1,000 received / bytes of all bundles
p99_hops_s          virtual seconds until 99 of 100 deliveries had happened
cpu_us_per_message  CPU microseconds of one node for one bundle, with all its copies and gossip
"""

from __future__ import annotations

import gc
import json
import random
import time
from dataclasses import dataclass

from mesh_star import star_delivered
from methrics.node.testing import Figures, Node, Silent, Simulation
from sizes import choose, parser_of

SIZE = 4096
"""Bytes of a bundle: small, so that what the mesh adds to it shows."""

LATENCY = (0.01, 0.15)
"""Seconds of a connection: from one town to across an ocean."""


@dataclass(frozen=True)
class Run:
    """What one simulated network cost."""

    figures: Figures
    idle_bytes: float
    """Bytes that a node received in each second without messages."""
    idle_cpu_us: float
    """CPU microseconds of a node in each second without messages."""
    cpu_us: float
    """CPU microseconds of a node for each message, without what it needs while idle."""


def network(nodes: int, sybils: float, broken: float) -> Simulation:
    """A network in which everybody dials eight others, drawn at random."""
    simulation = Simulation(nodes, latency=LATENCY)
    everybody = simulation.add_many(round(nodes * (1 - sybils)))
    everybody += simulation.add_many(round(nodes * sybils), Silent)
    for one in everybody:
        simulation.dial_some(one, 8)
    simulation.run(5)
    simulation.break_links(broken)
    return simulation


def measure(simulation: Simulation, bundles: int, *, idle: float, rest: float) -> Run:
    """Let honest nodes publish a bundle each half second."""
    nodes, rng = simulation.nodes, random.Random(7)
    gc.collect()
    before = sum(node.received_bytes for node in nodes)
    used = time.process_time()
    simulation.run(idle)
    idle_cpu = (time.process_time() - used) / idle
    idle_bytes = (sum(node.received_bytes for node in nodes) - before) / idle
    for node in nodes:
        node.received_bytes = node.received_frames = 0
    used = time.process_time()
    for _ in range(bundles):
        simulation.publish(rng.choice(nodes), rng.randbytes(SIZE))
        simulation.run(0.5)
    simulation.run(rest)
    cpu = time.process_time() - used - idle_cpu * (bundles * 0.5 + rest)
    return Run(
        figures=simulation.figures(),
        idle_bytes=idle_bytes / len(nodes),
        idle_cpu_us=idle_cpu / len(nodes) * 1e6,
        cpu_us=cpu / len(nodes) / bundles * 1e6,
    )


def eclipse(bundles: int) -> float:
    """The share of bundles that reach a node to which 60 sybils connected first."""
    simulation = network(100, 0.0, 0.0)
    victim = simulation.add(Node, "victim")
    for sybil in simulation.add_many(60, Silent, origin=b"one network"):
        simulation.connect(sybil, victim)
    simulation.run(5)
    honest = simulation.rng.sample([one for one in simulation.nodes if one is not victim], 3)
    for one in honest:
        simulation.connect(victim, one)
    simulation.run(5)
    for _ in range(bundles):
        others = [one for one in simulation.nodes if one is not victim]
        simulation.publish(simulation.rng.choice(others), simulation.rng.randbytes(SIZE))
        simulation.run(0.5)
    simulation.run(20)
    return simulation.figures([victim]).delivered


def star(listeners: int, bundles: int) -> tuple[Figures, float]:
    """Listeners that are connected to one relay alone, to which another relay sends each second
    bundle: figures, and the bytes that the first relay sends for each byte of a bundle."""
    simulation = Simulation(listeners, latency=LATENCY)
    hub, other = simulation.add(Node, "hub"), simulation.add(Node, "other")
    found = simulation.add_many(listeners)
    for one in (other, *found):
        one.keep("hub")
    simulation.run(5)
    before = hub.sent_bytes
    for number in range(bundles):
        publisher = (hub, other)[number % 2]
        simulation.publish(publisher, simulation.rng.randbytes(SIZE))
        simulation.run(0.5)
    simulation.run(20)
    return simulation.figures(found), (hub.sent_bytes - before) / (bundles * SIZE)


def row(*cells: object) -> None:
    """Print a row of a table of Markdown."""
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


def scale(sizes: tuple[int, ...], hubs: tuple[int, ...], bundles: int) -> dict[str, object]:
    """Print the tables of docs/scale.md."""
    found: dict[str, object] = {}
    row(
        "nodes", "delivered", "bytes", "frames", "CPU us", "idle CPU us/s", "hops", "p50 s", "p99 s"
    )
    row(*["---"] * 9)
    for nodes in sizes:
        run = measure(network(nodes, 0.0, 0.0), bundles, idle=10, rest=10)
        one = run.figures
        found[f"nodes_{nodes}"] = cells = [
            round(one.delivered, 4),
            round(one.amplification, 1),
            round(one.frames, 1),
            round(run.cpu_us),
            round(run.idle_cpu_us),
            round(one.hops, 1),
            round(one.p50_s, 2),
            round(one.p99_s, 2),
        ]
        row(f"{nodes:,}", *cells)
    print()
    row("listeners", "delivered", "bytes sent", "p50 s", "p99 s")
    row(*["---"] * 5)
    for listeners in hubs:
        one, sent = star(listeners, bundles)
        found[f"listeners_{listeners}"] = cells = [
            round(one.delivered, 4),
            round(sent, 1),
            round(one.p50_s, 2),
            round(one.p99_s, 2),
        ]
        row(listeners, *cells)
    return found


def main() -> None:
    """Print a table, and one JSON object."""
    parser = parser_of(__doc__, "fewer bundles, less than a minute")
    parser.add_argument("--scale", action="store_true", help="only the tables of docs/scale.md")
    arguments = parser.parse_args()
    bundles = choose(arguments, full=60, quick=20, smoke=4)
    if arguments.scale:
        sizes = choose(arguments, full=(100, 300, 1000), quick=(100, 300), smoke=(30, 60))
        hubs = choose(arguments, full=(40, 100, 299), quick=(40, 100), smoke=(5, 20))
        print(json.dumps(scale(sizes, hubs, bundles)))
        return
    nodes = choose(arguments, full=1000, quick=1000, smoke=100)
    run = measure(network(nodes, 0.2, 0.01), bundles, idle=5, rest=10)
    listeners = choose(arguments, full=40, quick=40, smoke=5)
    result = {
        "star_delivered": star_delivered(listeners=listeners, bundles=bundles),
        "delivered_1000": round(run.figures.delivered, 6),
        "eclipse_delivered": eclipse(bundles),
        "amplification": round(run.figures.amplification, 2),
        "p99_hops_s": round(run.figures.p99_s, 2),
        "cpu_us_per_message": round(run.cpu_us, 1),
    }
    for name, value in result.items():
        print(f"{name:20} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
