"""The way of a report from node to aggregator in two hops, over real libp2p on loopback.

Relays are processes, each an entry and an exit; two collectors are peers of the topic, as
aggregators are; two senders stand for many nodes, and seal the boxes before the clock runs.

    python benchmarks/bench_network.py [--quick | --smoke]

exit_boxes_per_s    boxes that an exit opens, judges, answers and publishes per CPU second
relay_mars_ratio    the same / 1,653 per second, a billion users (aim 3)
reports_per_s       reports per second from two senders, until both collectors have all
direct_per_s        the same of one sender that publishes to both collectors, without relays
relayed_to_direct   reports_per_s / direct_per_s
lost                taken by an exit and not at a collector; an entry is killed (aim 0)
publisher_cpu_s     CPU seconds of the publisher's process to send one report over HTTP (aim 0.35)
publisher_rss_mib   the most memory of that process (aim 45)
publisher_libp2p_cpu_s, publisher_libp2p_rss_mib  the same over libp2p
p99_s               seconds from the first request until both collectors have a report; reports do
                    not rest, and come at a fifth of that rate; 0.3 s of it is the batch window
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nacl.signing import SigningKey

from bench_ingest import MARS, make_reports
from methrics.node.network.peer_ids import peer_id_of
from methrics.schema.example import example_catalog
from network_run import Part, parts, write_reports
from publisher_run import costs
from sizes import choose, parser_of

SHOWS = ("MARS-14",)

Start = Callable[..., Part]

REQUEST = 8
"""Boxes that a node brings in one request."""

WAIT = 120
"""Seconds until the collectors must have everything."""


class Network:
    """Two relays that know each other, a third that is only an entry, and two collectors."""

    def __init__(self, start: Start, folder: Path, entries: Sequence[str] = ()) -> None:
        self.seeds = [random.randbytes(32).hex() for _ in range(3)]
        self.relays = [
            start("relay", seed=seed, entries=entries, folder=str(folder / seed[:8]))
            for seed in self.seeds
        ]
        self.addrs = [str(one.info["addr"]) for one in self.relays]
        self.ids = [str(one.info["id"]) for one in self.relays]
        for one in self.relays:
            one.ask(directory=dict(zip(self.ids, self.addrs, strict=True)))
        exits = self.addrs[:2]
        self.collectors = [start("collect", peers=exits) for _ in range(2)]

    def exit(self, number: int) -> dict[str, str]:
        """One of the exits: id -> seed."""
        return {self.ids[number]: self.seeds[number]}

    def collected(self, count: int) -> tuple[float, list[dict[str, float]]]:
        """Wait until both collectors have `count` reports; return when the last one came, and when
        each came at each."""
        for one in self.collectors:
            one.tell(wait=count, seconds=WAIT, times=True)
        heard = [one.hear() for one in self.collectors]
        return max(one["last"] for one in heard), [one["times"] for one in heard]


def cpu_of_exit(start: Start, file: Path, count: int) -> float:
    """Boxes per second of the exit's CPU, which its own entry brings, 64 in a request."""
    seed = random.randbytes(32).hex()
    network = Network(
        start, file.parent, [peer_id_of(bytes(SigningKey(bytes.fromhex(seed)).verify_key))]
    )
    own = start("send", seed=seed, exits=network.exit(0), ways=network.addrs[:1], own=True)
    own.ask(prepare=str(file), first=0, count=count, size=64)
    before = network.relays[0].ask()["cpu"]
    taken = own.ask(send=3, rate=0)["taken"]
    network.collected(taken)
    return float(taken / (network.relays[0].ask()["cpu"] - before))


def relayed(start: Start, file: Path, count: int, slow: int) -> dict[str, float]:
    """Reports by two hops as fast as they go, with an entry that is killed; then at a fifth of that
    rate."""
    network = Network(start, file.parent)
    senders = [
        start(
            *("send",),
            seed=random.randbytes(32).hex(),
            exits=network.exit(1 - number),
            ways=[network.addrs[2], network.addrs[number]],
            own=False,
        )
        for number in range(2)
    ]

    def send(first: int, each: int, rate: float) -> list[dict[str, float]]:
        for number, one in enumerate(senders):
            one.tell(prepare=str(file), first=first + number * each, count=each, size=REQUEST)
        for one in senders:
            one.hear()
        for one in senders:
            one.tell(send=16, rate=rate, times=True)
        if not rate:
            time.sleep(1)
            network.relays[2].kill()
        heard = [one.hear() for one in senders]
        return [one["times"] for one in heard]

    sent = send(0, count // 2, 0)
    names = {name: begun for one in sent for name, begun in one.items()}
    last, came = network.collected(len(names))
    rate = len(names) / (last - min(names.values()))
    lost = sum(len(names.keys() - one.keys()) for one in came)
    for one in senders:
        assert one.process.poll() is None
    paced = send(count, slow // 2, rate / 5 / REQUEST / 2)
    begun = {name: when for one in paced for name, when in one.items()}
    _, came = network.collected(len(names) + len(begun))
    lost += sum(len(begun.keys() - one.keys()) for one in came)
    seconds = [max(one.get(name, 0) for one in came) - when for name, when in begun.items()]
    return {
        "reports_per_s": rate,
        "lost": float(lost),
        "p99_s": statistics.quantiles(seconds, n=100)[98],
    }


def direct(start: Start, file: Path, count: int) -> float:
    """Reports per second that one sender publishes to two collectors."""
    collectors = [start("collect", peers=[]) for _ in range(2)]
    ways = [one.info["addr"] for one in collectors]
    sender = start("send", seed=random.randbytes(32).hex(), exits={}, ways=ways, own=False)
    sender.ask(prepare=str(file), first=0, count=count, size=REQUEST)
    began = sender.ask(direct=REQUEST)["began"]
    last = max(one.ask(wait=count, seconds=WAIT)["last"] for one in collectors)
    return float(count / (last - began))


def main() -> None:
    """Runs the bench."""
    arguments = parser_of(__doc__, "under a minute").parse_args()
    count = choose(arguments, full=40_000, quick=4_000, smoke=400)
    slow = count // 8
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="methrics-bench-") as folder:
        file = Path(folder) / "reports"
        rng = random.Random(1)
        write_reports(file, make_reports(example_catalog(), count + slow, rng, int(time.time())))
        with parts() as start:
            result["exit_boxes_per_s"] = cpu_of_exit(start, file, count)
        result["relay_mars_ratio"] = result["exit_boxes_per_s"] / MARS
        with parts() as start:
            result |= relayed(start, file, count, slow)
        with parts() as start:
            result["direct_per_s"] = direct(start, file, count)
        result |= costs(Path(folder), choose(arguments, full=9, quick=3, smoke=1))
    result["relayed_to_direct"] = result["reports_per_s"] / result["direct_per_s"]
    for name, value in result.items():
        print(f"{name:<24}{value:>12,.3f}")
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
