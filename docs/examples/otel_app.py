"""An app that uses OpenTelemetry, and also publishes the instruments that its catalog declares.

    pip install '.[otel]'  (in a clone of methrics)
    printf 'import a.png\nresize b.png\n' | python otel_app.py

The instruments belong to the app and do not depend on methrics. One exporter, beside any others,
records those that otel.toml declares, once a minute and when the app ends. The attribute `file` is
not declared, so it does not leave the process.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

import methrics.node
from methrics.node.bridges.otel import Exporter

CATALOG = Path(__file__).with_name("otel.cbor")
RECORDER = methrics.node.open(CATALOG)
EXPORTER = Exporter(RECORDER)
metrics.set_meter_provider(
    MeterProvider([PeriodicExportingMetricReader(EXPORTER)], views=EXPORTER.views())
)

METER = metrics.get_meter("jobs")
DONE = METER.create_counter("jobs.done")
DURATION = METER.create_histogram("jobs.duration", unit="s")


def memory(options: CallbackOptions) -> Iterator[Observation]:
    yield Observation(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


METER.create_observable_gauge("memory.used", [memory], unit="MB")


def main() -> int:
    for line in sys.stdin:
        started = time.perf_counter()
        kind, _, file = line.strip().partition(" ")
        print(f"{kind} {file}: done")
        DONE.add(1, {"job.kind": kind, "job.ok": bool(file), "file": file})
        DURATION.record(time.perf_counter() - started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
