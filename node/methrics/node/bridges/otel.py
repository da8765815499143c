"""A metric exporter for the official OpenTelemetry SDK: declared instruments are recorded here.

    exporter = Exporter(recorder)
    reader = PeriodicExportingMetricReader(exporter)
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader], views=exporter.views()))

An instrument is recorded as the event type that the naming rule (`naming`) or an explicit mapping
gives for it, and its attributes become fields in the same way. What the catalog does not declare is
dropped and counted. Resources, scopes, units and exemplars are ignored. The exporter only
writes to the outbox; the publisher sends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    Gauge,
    Histogram,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    Sum,
)
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

from methrics.node.bridges.batch import Batch, parts
from methrics.node.bridges.declared import Declared, Target
from methrics.node.bridges.histograms import bounds_for, explicit, exponential, inside, spread
from methrics.node.bridges.streams import Interval, Streams
from methrics.node.process.exits import at_exit
from methrics.node.process.forks import watch
from methrics.node.process.tally import Tally

if TYPE_CHECKING:
    from methrics.node.record.recorder import Recorder

__all__ = ["Exporter", "Statistics"]

DELTA, CUMULATIVE = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE

TEMPORALITY: dict[type, AggregationTemporality] = {
    sdk.Counter: DELTA,
    sdk.ObservableCounter: DELTA,
    sdk.Histogram: DELTA,
    sdk.UpDownCounter: CUMULATIVE,
    sdk.ObservableUpDownCounter: CUMULATIVE,
}
"""Instrument -> temporality. A count is recorded as the change since the last export (delta). An
up-down counter is recorded as its current level (cumulative)."""


class Statistics(NamedTuple):
    """Counts of one exporter, in this process.

    `recorded`: the sum of all recorded counts plus the number of recorded states. `dropped`:
    amounts that were not recorded, by reason (docs/otel.md has the unit for each reason).
    `left_out`: the number of attributes that were not recorded, by reason.
    """

    recorded: int
    dropped: dict[str, int]
    left_out: dict[str, int]


class Exporter(MetricExporter):
    """An exporter for a `PeriodicExportingMetricReader`, made before the first measurement.

    `instruments`: instrument -> event type. `attributes`: attribute -> field; a mapping applies to
    all event types. Both have priority over the naming rule. `values`: instrument -> the bucket
    field for the value of a gauge or histogram. If `values` has no entry for an instrument, its
    value goes into the bucket field named `value`; if there is none, into the only bucket field.

    If the recorder is strict, a mapping that does not fit the catalog raises LocalError
    `wrong-mapping`. Otherwise the mapping is ignored, and `recorder.statistics()` counts it. Later
    calls raise an error only if the recorder is strict.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        instruments: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        values: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(preferred_temporality=TEMPORALITY)
        self._recorder = recorder
        self._inside = inside = recorder.inside
        self._declared = Declared(
            inside.types, instruments or {}, attributes or {}, values or {}, inside.guard
        )
        self._streams = Streams()
        self._recorded = Tally()
        self._dropped = Tally()
        self._left_out = Tally()
        self._closed = False
        self._lock = threading.Lock()
        self._pid = os.getpid()
        watch(self)
        # Exit handlers run in reverse order. The provider is made after this exporter, so at exit
        # the provider flushes before the recorder looks whether a report is due.
        at_exit(id(recorder), inside.finish)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Records the data of one collection of the reader. Returns SUCCESS once all data were
        processed; those that were recorded are then stored durably."""
        patience = max(0.0, timeout_millis / 1000)
        deadline = self._inside.monotonic() + patience
        if not self._lock.acquire(True, min(patience, threading.TIMEOUT_MAX)):
            self._dropped.add("timeout")
            return MetricExportResult.FAILURE
        try:
            done = self._inside.guard(self._export, metrics_data, deadline)
        finally:
            self._lock.release()
        return MetricExportResult.SUCCESS if done else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Returns True, because no data are buffered here."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Makes later exports record nothing. Does not close the recorder, which is the app's."""
        self._closed = True

    def views(self) -> list[View]:
        """Returns views for `MeterProvider(views=...)`, which give each declared histogram the
        buckets of its field, so that all values can be counted. The views apply to every reader of
        the provider."""
        return [
            View(
                instrument_type=sdk.Histogram,
                instrument_name=pattern,
                aggregation=ExplicitBucketHistogramAggregation(bounds_for(target.edges)),
            )
            for pattern, target in self._declared.patterns()
            if target.event_type.kind == "count" and target.edges
        ]

    def statistics(self) -> Statistics:
        """Returns the counts of this process for a developer. They are not sent anywhere."""
        recorded = sum(self._recorded.totals().values())
        return Statistics(
            recorded=recorded, dropped=self._dropped.totals(), left_out=self._left_out.totals()
        )

    # Called only under the guard of the recorder:

    def _export(self, metrics_data: MetricsData, deadline: float) -> bool:
        if self._closed:
            self._dropped.add("closed")
            return False
        batch = Batch()
        for scope, metric in self._metrics(metrics_data):
            target = self._declared.target(metric.name)
            if target is None:
                self._dropped.add("undeclared", len(metric.data.data_points))
                continue
            on = self._inside.is_on(target.name)
            data = metric.data
            if isinstance(data, Gauge):
                self._level(target, data.data_points, on, batch)
            elif isinstance(data, Sum) and not data.is_monotonic:
                if data.aggregation_temporality is CUMULATIVE and target.kind == "state":
                    self._level(target, data.data_points, on, batch)
                elif on:
                    self._dropped.add("not-monotonic", len(data.data_points))
            else:
                self._amounts(scope, metric.name, data, target, on, batch)
        return self._write(batch, deadline)

    def _metrics(self, metrics_data: MetricsData) -> Iterator[tuple[object, Metric]]:
        """Yields each stream once, because a second view of an instrument would count the same
        values again."""
        seen: set[tuple[object, str]] = set()
        for resource in metrics_data.resource_metrics:
            for scoped in resource.scope_metrics:
                for metric in scoped.metrics:
                    if (scoped.scope, metric.name) in seen:
                        self._dropped.add("second-view", len(metric.data.data_points))
                        continue
                    seen.add((scoped.scope, metric.name))
                    yield scoped.scope, metric

    def _level(self, target: Target, points: Any, on: bool, batch: Batch) -> None:
        """Sets a state from a gauge or an up-down counter."""
        if not on:
            return
        if target.kind != "state" or target.value is None:
            why = "wrong-kind" if target.kind != "state" else "no-bucket-field"
            self._dropped.add(why, len(points))
        elif len(points) > 1:  # a state has one value, and no point is better than the others
            self._dropped.add("several-at-once", len(points))
        else:
            (point,) = points
            fields = self._fields(target, point.attributes)
            try:
                target.value.coerce(point.value)
            except ValueError:
                self._dropped.add("not-a-number")
                return
            batch.set(target.name, {**fields, target.value.name: point.value})

    def _amounts(
        self,
        scope: object,
        name: str,
        data: Sum | Histogram | ExponentialHistogram,
        target: Target,
        on: bool,
        batch: Batch,
    ) -> None:
        """Counts the values that were added or observed since the last export."""
        if target.kind != "count" or (not isinstance(data, Sum) and target.ambiguous):
            if on:
                why = "wrong-kind" if target.kind != "count" else "no-bucket-field"
                self._dropped.add(why, len(data.data_points))
            return
        answered = self._inside.answer_time(target.name)
        delta = data.aggregation_temporality is DELTA
        for point in data.data_points:
            interval = self._streams.interval((scope, name), point, delta=delta)
            if not on:
                continue
            if why := interval.refused or self._streams.not_covered(interval, answered):
                self._dropped.add(why)
            elif isinstance(data, Sum):
                self._sum(target, interval, batch)
            else:
                self._observed(target, interval, batch)

    def _sum(self, target: Target, interval: Interval, batch: Batch) -> None:
        n = interval.point.value
        if n != n or n in (float("inf"), float("-inf")) or n != int(n):
            self._dropped.add("not-whole")
        elif n < 0:
            self._dropped.add("reset")
        elif n:
            fields = self._fields(target, interval.point.attributes, value=False)
            batch.add(target.name, fields, int(n))

    def _observed(self, target: Target, interval: Interval, batch: Batch) -> None:
        point = interval.point
        if not point.count:
            return
        fields = self._fields(target, point.attributes)
        if target.value is None:
            batch.add(target.name, fields, point.count)
            return
        if point.sum != point.sum:  # NaN was observed and was counted in one of the buckets
            self._dropped.add("not-a-number", point.count)
            return
        pieces = (
            explicit(point.explicit_bounds, point.bucket_counts)
            if hasattr(point, "explicit_bounds")
            else exponential(
                point.scale,
                point.zero_count,
                (point.positive.offset, point.positive.bucket_counts),
                (point.negative.offset, point.negative.bucket_counts),
            )
        )
        field = target.value
        found, unsure = spread(pieces, lambda one: int(field.coerce(one)), point.min, point.max)
        for bucket, n in found.items():
            batch.add(target.name, {**fields, field.name: inside(target.edges, bucket)}, n)
        if unsure:
            self._dropped.add("between-buckets", unsure)

    def _fields(self, target: Target, attributes: Any, *, value: bool = True) -> dict[str, object]:
        fields, left = self._declared.fields(target, attributes or {}, value=value)
        for why in left:
            self._left_out.add(why)
        return fields

    def _write(self, batch: Batch, deadline: float) -> bool:
        """Writes the batch to the outbox. Drops the part that is not written by the deadline, and
        then returns False."""
        recorder = self._recorder
        in_time = True
        for name, fields, n in batch.counts.values():
            in_time = in_time and self._inside.monotonic() < deadline
            for part in parts(n):
                kept = in_time and recorder.count(name, part, **fields)
                self._count_outcome(kept, in_time, part)
        for name, state in batch.states.items():
            in_time = in_time and self._inside.monotonic() < deadline
            if name in batch.clashes:
                self._dropped.add("several-at-once", batch.clashes[name])
            else:
                kept = in_time and recorder.record(name, **state)
                self._count_outcome(kept, in_time, 1)
        return in_time

    def _count_outcome(self, kept: bool, in_time: bool, n: int) -> None:
        if kept:
            self._recorded.add("recorded", n)
        else:
            self._dropped.add("not-recorded" if in_time else "timeout", n)

    def before_fork(self, patience: float) -> bool:
        """Part of `forks.Forkable`. Waits until no other thread runs an export."""
        return self._lock.acquire(True, patience)

    def after_fork(self) -> None:
        """Part of `forks.Forkable`. A child does not export the sums that the parent made."""
        if os.getpid() != self._pid:
            self._begin_in_child()
        self._lock.release()

    def abandon(self) -> None:
        """Part of `forks.Forkable`, for a child that was forked during an export."""
        self._lock = threading.Lock()
        self._begin_in_child()

    def _begin_in_child(self) -> None:
        self._pid = os.getpid()
        self._streams.forked(self._inside.now())
