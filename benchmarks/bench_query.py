"""Every shipped view on ten million reports: from typed columns, and from the same data as JSON.

One file has the reports of a year, from the example catalog, in the aggregator's layout (made by
`query_data.py`). Another has the same reports in one table `event (id, time, received, properties)`
with `properties` as one JSON object, as in most event stores; engine and file format are the same.
Each view is read whole on one thread from both files, and the benchmark fails if the rows differ.
From JSON, the columns that a view uses are extracted once, as `properties->>'$.field'`. Where JSON
would be queried in another way, `query_json.py` has that query. Add each new view to a list there.

    python benchmarks/bench_query.py [--quick | --smoke] [--reports N] [--memory MB] [--keep DIR]
                                      [--alone]

slowest_cpu_s   CPU seconds of the slowest view from typed columns, median of 3 (aim 1 for 10
                million reports; for fewer `bound_s`: a tenth for a tenth, and 50 ms to plan it)
json_ratio      JSON / typed CPU of the view that gains least
rows            reports in the file
alone_cpu_s     CPU seconds of the slowest view where all reports are of its own type, the worst
                case; with --alone
peak_mib        memory of the process that read the typed views, Python included
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from methrics.schema.example import example_catalog
from query_data import make_json, make_known, make_typed
from query_json import ASKED, NO_REPORTS, SAME, JsonDataset, TypedDataset
from sizes import choose, parser_of

REPORTS = 10_000_000
QUICK = 1_000_000
SMOKE = 50_000
BOUND = 1.0
"""CPU seconds for ten million reports."""
PLANNING = 0.05
"""CPU seconds to plan a query, whatever the number of reports."""
ROUNDS = 3

Found = dict[str, dict[str, Any]]
"""view -> CPU seconds of each round, and its rows."""


def read_views(dataset: TypedDataset, rounds: int, only: str) -> Found:
    """Read every view whole, `rounds` times; with `only`, those of one event type."""
    found: Found = {}
    for view, kind, event in dataset.kinds():
        if kind not in {*SAME, *ASKED, *NO_REPORTS}:
            raise SystemExit(f"{view}: benchmarks/query_json.py does not say how JSON is asked")
        if only and event != only:
            continue
        js = isinstance(dataset, JsonDataset)
        query = dataset.asked(view, event) if js else f"FROM {view}"
        spent = []
        for _ in range(rounds):
            start = time.process_time()
            rows = dataset.rows(query)
            spent.append(time.process_time() - start)
        found[view] = {"cpu": spent, "rows": rows, "kind": kind, "event": event}
        print(f"  {view:44} {statistics.median(spent):8.3f}", file=sys.stderr, flush=True)
    return found


def child(form: str, path: Path, memory: int, rounds: int, out: Path, only: str) -> None:
    """Run in a separate process, so that its peak memory is that of these queries."""
    opened = JsonDataset if form == "json" else TypedDataset
    with opened.open(path, path.with_name("known.csv"), f"{memory}MiB") as dataset:
        found = read_views(dataset, rounds, only)
    out.write_bytes(pickle.dumps((found, peak_mib())))


def peak_mib() -> float:
    """Peak memory of this process. `ru_maxrss` would include that of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(form: str, path: Path, memory: int, rounds: int, only: str = "") -> tuple[Found, float]:
    """The result of `child`, and its peak memory in MiB."""
    out = path.with_suffix(".found")
    command = [sys.executable, __file__, "--child", form, str(path), str(out), only]
    command += ["--memory", str(memory), "--rounds", str(rounds)]
    print(f"{form} {only}".strip(), file=sys.stderr, flush=True)
    subprocess.run(command, check=True)
    found, peak = pickle.loads(out.read_bytes())
    return found, peak


def equal(one: Sequence[tuple[Any, ...]], other: Sequence[tuple[Any, ...]]) -> bool:
    """Whether the rows are equal, except for their order and the last digits of floats."""
    if len(one) != len(other):
        return False
    pairs = zip(sorted(one, key=repr), sorted(other, key=repr), strict=True)
    return all(_same(a, b) for left, right in pairs for a, b in zip(left, right, strict=True))


def _same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9)
    return a == b


def seconds(found: Mapping[str, Any]) -> float:
    """Median CPU seconds of a view."""
    return statistics.median(found["cpu"])


def compare(typed: Found, js: Found) -> list[tuple[str, float, float | None]]:
    """(view, typed, JSON) CPU seconds, slowest first; fails where their rows differ."""
    table: list[tuple[str, float, float | None]] = []
    for view, found in typed.items():
        if not found["rows"]:
            raise SystemExit(f"{view}: no rows, so nothing was measured")
        if not equal(found["rows"], js[view]["rows"]):
            raise SystemExit(f"{view}: typed columns and JSON give different rows")
        other = None if found["kind"] in NO_REPORTS else seconds(js[view])
        table.append((view, seconds(found), other))
    return sorted(table, key=lambda line: -line[1])


def show(table: Sequence[tuple[str, float, float | None]]) -> None:
    """Print the table."""
    print(f"{'view':44} {'typed s':>9} {'JSON s':>9} {'ratio':>7}")
    for view, typed, js in table:
        both = f"{js:9.3f} {js / typed:7.1f}" if js is not None else f"{'-':>9} {'-':>7}"
        print(f"{view:44} {typed:9.3f} {both}")


def alone(folder: Path, memory: int, count: int, typed: Found) -> dict[str, float]:
    """Views of one event type, on a file where all reports are of that type."""
    found: dict[str, float] = {}
    for only in sorted({one["event"] for one in typed.values()} - {""}):
        path = folder / f"{only}.duckdb"
        if not path.exists():
            make_typed(path, example_catalog(), count, only)
        views, _ = run("typed", path, memory, ROUNDS, only)
        found |= {view: seconds(one) for view, one in views.items()}
    return found


def measure(folder: Path, count: int, memory: int, worst_case: bool) -> dict[str, object]:
    """Make the files, read the views, print the table; the figures for the last line."""
    typed_file, json_file = folder / "typed.duckdb", folder / "json.duckdb"
    if not json_file.exists():
        typed_file.unlink(missing_ok=True)
        make_typed(typed_file, example_catalog(), count)
        make_json(json_file, typed_file, example_catalog())
        make_known(folder / "known.csv", example_catalog())
    typed, peak = run("typed", typed_file, memory, ROUNDS)
    js, json_peak = run("json", json_file, memory, 1)
    table = compare(typed, js)
    show(table)
    ratios = {view: js / typed for view, typed, js in table if js is not None}
    worst, least = table[0], min(ratios, key=lambda view: ratios[view])
    result: dict[str, object] = {
        "slowest_cpu_s": round(worst[1], 3),
        "slowest": worst[0],
        "bound_s": min(BOUND, BOUND * count / REPORTS + PLANNING),
        "json_ratio": round(ratios[least], 2),
        "json_ratio_of": least,
        "json_ratio_median": round(statistics.median(ratios.values()), 1),
        "rows": count,
        "views": len(table),
        "memory_limit_mib": memory,
        "peak_mib": round(peak),
        "json_peak_mib": round(json_peak),
        "file_mib": round(typed_file.stat().st_size / 2**20),
        "json_file_mib": round(json_file.stat().st_size / 2**20),
    }
    if worst_case:
        own = alone(folder, memory, count, typed)
        print(f"\n{'all reports of its own type':44} {'typed s':>9}")
        for view, spent in sorted(own.items(), key=lambda item: -item[1]):
            print(f"{view:44} {spent:9.3f}")
        result["alone_cpu_s"] = round(max(own.values()), 3)
        result["alone"] = max(own, key=lambda view: own[view])
    return result


def main() -> None:
    """Print a table, and one JSON object as the last line."""
    parser = parser_of(__doc__, "1 million reports")
    parser.add_argument("--reports", type=int, help="how many reports")
    parser.add_argument("--memory", type=int, default=1024, help="memory limit in MiB")
    parser.add_argument("--keep", type=Path, help="make the files here, and use them again")
    parser.add_argument("--alone", action="store_true", help="measure the worst case too")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        form, path, out, only = arguments.child
        child(form, Path(path), arguments.memory, arguments.rounds, Path(out), only)
        return
    count = arguments.reports or choose(arguments, full=REPORTS, quick=QUICK, smoke=SMOKE)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(folder, count, arguments.memory, arguments.alone)
    print(json.dumps(result))
    if float(str(result["slowest_cpu_s"])) > float(str(result["bound_s"])):
        print("slower than the bound", file=sys.stderr)


if __name__ == "__main__":
    main()
