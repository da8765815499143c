"""The cost of judging a report beyond libsodium's check of its signature.

    python benchmarks/bench_judge.py [--quick | --smoke]

verify_us           CPU microseconds of the bare check of one heartbeat's signature
judge_us            the same for the whole verdict: structure, encoding, catalog, signature, time
over_us             judge_us less verify_us, for values that came before (aim 12)
over_new_us         the same for values that never came before
over_ratio          over_us / verify_us, which drifts less with the machine
gate_us             per report of a bundle of 250, one thread
gate_2_threads_us   wall microseconds per report, two threads with a bundle each
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from nacl.bindings import crypto_sign_open

from methrics.schema.example import example_catalog, example_seed
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.judge import judge
from methrics.schema.judging.seen import Seen
from methrics.schema.wire import items
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.record import decode_record, sign_record
from methrics.schema.wire.verdict import Decision
from sizes import choose, parser_of

NOW = 1_800_000_000
TODAY = NOW - NOW % example_catalog().types["heartbeat"].resolution


def heartbeats(count: int, rng: random.Random) -> list[bytes]:
    """Signed heartbeats with random values of all their fields."""
    catalog = example_catalog()
    made = []
    for _ in range(count):
        values = {
            "version": f"{rng.randrange(10)}.{rng.randrange(50)}",
            "os": rng.choice(["linux", "macos", "windows", "other"]),
            "daily": True,
            "weekly": rng.random() < 0.2,
            "monthly": rng.random() < 0.05,
            "age": rng.randrange(4),
            "country": rng.choice(["DE", "FR", "IN", "US", "ZZ"]),
        }
        payload = encode_report(Report(catalog.id, "heartbeat", TODAY, values))
        made.append(seal(Kind.REPORT, payload, rng.randbytes(32)))
    return made


def cost(call: Callable[[bytes], object], raws: Sequence[bytes]) -> float:
    """CPU microseconds per call."""
    start = time.process_time()
    for raw in raws:
        call(raw)
    return (time.process_time() - start) / len(raws) * 1e6


def measure(raws: Sequence[bytes], rounds: int) -> dict[str, float]:
    """Medians over rounds; each round measures every figure once."""
    book = CatalogBook()
    book.add(example_catalog(), given=True)
    record = sign_record([example_catalog().id], example_seed(), time=NOW, expires=2 * NOW)
    book.records.add(record, decode_record(record.payload))
    signed = {raw: (raw[-64:] + split(raw).signed, split(raw).key) for raw in raws}
    bundles = [pack(example_catalog().id, raws[at : at + 250]) for at in range(0, len(raws), 250)]
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    def verdict(raw: bytes) -> None:
        if judge(raw, book, NOW).decision is not Decision.ACCEPT:
            raise SystemExit("a heartbeat was refused")

    for _ in range(rounds):
        verify = cost(lambda raw: crypto_sign_open(*signed[raw]), raws)
        items._contents._forget()
        new = cost(verdict, raws)
        again = cost(verdict, raws)
        note("verify_us", verify)
        note("judge_us", again)
        note("over_us", again - verify)
        note("over_new_us", new - verify)
        note("over_ratio", (again - verify) / verify)
        seen = Seen()
        gate = cost(lambda raw, seen=seen: judge_bundle(raw, book, NOW, seen), bundles)  # type: ignore[misc]
        note("gate_us", gate * len(bundles) / len(raws))
        both = Seen()
        with ThreadPoolExecutor(2) as pool:
            start = time.perf_counter()
            list(pool.map(lambda raw, both=both: judge_bundle(raw, book, NOW, both), bundles))  # type: ignore[misc]
            note("gate_2_threads_us", (time.perf_counter() - start) / len(raws) * 1e6)
    return {name: round(statistics.median(values), 3) for name, values in found.items()}


def main() -> None:
    """Print a table, and one JSON object as the last line."""
    arguments = parser_of(__doc__, "fewer reports and rounds").parse_args()
    count, rounds = choose(arguments, full=(4000, 9), quick=(1000, 5), smoke=(250, 1))
    result = measure(heartbeats(count, random.Random(1)), rounds)
    for name, value in result.items():
        print(f"{name:20} {value:>10,}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
