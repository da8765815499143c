"""Reports that the simulator makes per CPU second, against libsodium's bare signing.

    python benchmarks/bench_simulate.py [--quick | --smoke]

Three parts are measured, one after another in this process. *Generation* is the work of installs
whose acts are prepared: recorder, pacing, flags, keys, encoding, signing and publishing. *Lives*
adds inventing the acts and writing the truth. *Storing* is the aggregator's side: mixing, judging
(which checks each signature) and committing. Bare signing is measured after every few installs, so
that both run under the same load; ratios are medians over those turns.

reports_per_cpu_s              generation
raw_sign_per_cpu_s             signatures of 200 bytes by libsodium, with prepared keys
sign_ratio                     the first over the second (aim 0.3; a key pair for each report costs
                               as much as its signature, so 0.5 is the limit)
raw_keypair_sign_per_cpu_s     key pair from a seed, and signature: the least a report can cost
keypair_sign_ratio             generation over that: the share of Ed25519 in it
lives_per_cpu_s                reports per CPU second of lives
total_reports_per_cpu_s        of lives and storing together
bound_by                       the larger part of generation

Sizes of the simulated data, in which 60 of 100 installs share everything that they may:

reports_per_install_day        reports of all event types / installs that share, and days
signed_bytes_per_report        exact bytes of a report
raw_bytes_per_report           Parquet of the exact bytes
types_bytes_per_report         Parquet of the columns
"""

from __future__ import annotations

import gc
import json
import statistics
import tempfile
import time
from pathlib import Path

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.simulate import DATA, Settings, simulate
from methrics.aggregate.simulate.days import App, SharedPlans, make_install, tool_of
from methrics.aggregate.simulate.population import Profile, Visit, invent, visits
from methrics.aggregate.simulate.run import Summary
from methrics.aggregate.simulate.signing import raw_cost
from methrics.aggregate.store.store import Store
from methrics.schema.example import example_catalog
from sizes import choose, parser_of

SIGNED = "SELECT sum(octet_length(raw)) FROM item WHERE kind = 1"
"""The bytes of all reports of a file."""

TURN = 10
"""Installs between two measurements of bare signing."""


def generate(people: list[tuple[Profile, list[Visit]]], settings: Settings) -> dict[str, float]:
    """CPU time of installs that live through visits that were invented before."""
    catalog = example_catalog()
    plans: SharedPlans = {}
    ratios, pair_ratios, rates, signs, pairs = [], [], [], [], []
    reports = 0
    for at in range(0, len(people), TURN):
        made = 0
        gc.collect()
        begun = time.process_time()
        for profile, acts in people[at : at + TURN]:
            install = make_install(profile, settings, catalog, plans)
            app = App(install, profile, tool_of(profile, catalog))
            for visit in acts:
                app.use(visit)
            made += len(install.sent)
        cpu = time.process_time() - begun
        raw = raw_cost(400)
        if at == 0 or made < 50:
            continue  # the first turn pays for imports and caches
        reports += made
        rates.append(made / cpu)
        signs.append(1 / raw.sign_s)
        pairs.append(1 / (raw.sign_s + raw.keypair_s))
        ratios.append(rates[-1] / signs[-1])
        pair_ratios.append(rates[-1] / pairs[-1])
    return {
        "reports": reports,
        "reports_per_cpu_s": round(statistics.median(rates)),
        "raw_sign_per_cpu_s": round(statistics.median(signs)),
        "sign_ratio": round(statistics.median(ratios), 3),
        "raw_keypair_sign_per_cpu_s": round(statistics.median(pairs)),
        "keypair_sign_ratio": round(statistics.median(pair_ratios), 3),
    }


def sizes(file: Path, summary: Summary) -> dict[str, float]:
    """How many reports there are of an install, and how many bytes each takes."""
    with Store(file) as store:
        signed = sum(size for (size,) in store.cursor().execute(SIGNED).fetchall())
        exporter = Exporter(store)
        exporter.export(int(time.time()))
        exporter.close()
        raw, types = (tree_bytes(store.directory / part) for part in ("raw", "types"))
    each = {"signed": signed, "raw": raw, "types": types}
    return {
        "reports_per_install_day": round(summary.reports / summary.sharing / summary.days, 3),
        **{
            f"{name}_bytes_per_report": round(size / summary.stored, 1)
            for name, size in each.items()
        },
    }


def tree_bytes(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def main() -> None:
    """Print one JSON object."""
    arguments = parser_of(__doc__, "less than a minute").parse_args()
    installs, others, days = choose(
        arguments, full=(1200, 600, 90), quick=(240, 100, 40), smoke=(30, 10, 14)
    )
    settings = Settings(installs=installs, days=days, opt_in=1.0)
    people = [(one, list(visits(one, settings))) for one in invent(settings)]
    result: dict[str, object] = dict(generate(people, settings))
    whole = Settings(installs=others, days=days)
    with tempfile.TemporaryDirectory() as folder:
        summary = simulate(Path(folder) / "world", whole, processes=1)
        result |= sizes(Path(folder) / "world" / DATA, summary)
    share = float(result["keypair_sign_ratio"])  # type: ignore[arg-type]  # a number by name
    result |= {
        "lives_per_cpu_s": round(summary.reports_per_cpu_s),
        "total_reports_per_cpu_s": round(summary.total_reports_per_cpu_s),
        "bound_by": "Ed25519 key pairs and signatures" if share >= 0.5 else "Python around them",
    }
    for name, value in result.items():
        print(f"{name:28} {value:>34}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
