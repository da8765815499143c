"""Gives the figures of an aggregator as Prometheus metrics, from a registry of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from methrics.aggregate.collect.figures import EDGES, Figures, Snapshot
from methrics.aggregate.collect.holding import DISK, STORE

MESSAGES = ("duplicates", "accepted", "ignored", "rejected", "limited", "malformed")
"""The outcomes by which the swarm counts messages."""


class Exposition:
    """Writes the metrics of one aggregator."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, figures: Figures) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Families(figures))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format; those of the disk as last measured."""
        return generate_latest(self._registry)


class _Families(Collector):
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield from families(self._figures.snapshot())


def families(now: Snapshot) -> Iterator[Metric]:
    """Yield all metrics of a snapshot. `docs/operate.md` lists their names."""
    yield _gauge("methrics_reports", "Reports in the data set.", now.reports)
    yield _labelled(
        "methrics_items", "Items by what happened to them.", "outcome", _items(now.counts)
    )
    yield _labelled("methrics_refused_items", "Refused items by reason.", "reason", now.refused)
    yield _histogram("methrics_commit_seconds", "Duration of commits.", now.commits)
    yield _histogram(
        "methrics_checkpoint_seconds", "Duration of commits with a checkpoint.", now.checkpoints
    )
    yield _histogram("methrics_export_seconds", "Duration of exports.", now.exports)
    yield _gauge(
        "methrics_export_failed", "1 if the last export failed.", bool(now.exports["failed"])
    )
    yield _gauge(
        "methrics_export_timestamp_seconds", "When the last export ended.", now.exports["written"]
    )
    yield _gauge("methrics_queued_bundles", "Bundles waiting for the writer.", now.queue["bundles"])
    yield _gauge("methrics_waiting_bundles", "Bundles waiting for a catalog.", now.queue["waiting"])
    yield _gauge("methrics_peers", "Connected peers.", now.network.get("connections", 0))
    yield _labelled(
        "methrics_messages",
        "Gossip messages by outcome.",
        "outcome",
        {name: now.network.get(name, 0) for name in MESSAGES},
    )
    received = CounterMetricFamily("methrics_received_bytes", "Bytes of gossip messages.")
    received.add_metric([], now.network.get("received_bytes", 0))
    yield received
    disk = GaugeMetricFamily("methrics_disk_bytes", "Disk in use.", labels=["what"])
    for what in ("file", "log", "parquet"):
        disk.add_metric([what], now.disk[what])
    yield disk
    yield _gauge("methrics_disk_free_bytes", "Free bytes on the file's disk.", now.disk["free"])
    held = GaugeMetricFamily(
        "methrics_held", "1 if nothing is accepted for this cause.", labels=["cause"]
    )
    for cause in (DISK, STORE):
        held.add_metric([cause], cause in now.held)
    yield held
    ends = GaugeMetricFamily(
        "methrics_record_expires_timestamp_seconds",
        "When the newest record of a topic ends; 0 without one.",
        labels=["topic"],
    )
    for one in now.records:
        ends.add_metric([one["topic"]], one["expires"])
    yield ends
    yield _gauge(
        "methrics_clock_skew_seconds",
        "By how much this machine's clock is probably ahead; below 0 if it is behind.",
        now.clock["seconds"] * (-1 if now.clock["behind"] else 1) if now.clock else 0,
    )
    yield from _others(now)
    yield from _closed(now)
    yield _labelled("methrics_queries", "Questions by outcome.", "outcome", now.queries["outcomes"])
    yield _histogram("methrics_query_seconds", "Duration of answers.", now.queries)


def _items(counts: Mapping[str, int]) -> dict[str, int]:
    return {"stored" if name == "reports" else name: one for name, one in counts.items()}


def _others(now: Snapshot) -> Iterator[Metric]:
    equal = GaugeMetricFamily(
        "methrics_aggregator_equal", "1 if a peer had the same reports.", labels=["peer"]
    )
    lacking = GaugeMetricFamily(
        "methrics_aggregator_lacking_items", "Items that a peer had more.", labels=["peer"]
    )
    lag = GaugeMetricFamily(
        "methrics_aggregator_lag_seconds", "Time since both were equal.", labels=["peer"]
    )
    for one in now.aggregators:
        equal.add_metric([one["peer"]], one["equal"])
        lacking.add_metric([one["peer"]], one["lacking"])
        lag.add_metric([one["peer"]], one["lag"])
    yield from (equal, lacking, lag)


def _closed(now: Snapshot) -> Iterator[Metric]:
    yield _gauge("methrics_contested_reports", "Contested reports.", now.closed["contested"])
    yield _labelled(
        "methrics_unanswered_requests",
        "Requests for manifests that got no reply, by reason.",
        "reason",
        now.closed["unanswered"],
    )
    coverage = GaugeMetricFamily(
        "methrics_coverage_ratio",
        "Share of the reports of closed days that an aggregator had in time.",
        labels=["peer", "namespace"],
    )
    for one in now.closed["coverage"]:
        coverage.add_metric([one["peer"], one["namespace"]], one["coverage"])
    yield coverage


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(name, says, value=value)


def _labelled(name: str, says: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, says, labels=[label])
    for one, value in sorted(values.items()):
        family.add_metric([one], value)
    return family


def _histogram(name: str, says: str, one: Mapping[str, Any]) -> Metric:
    buckets = [(str(edge), float(count)) for edge, count in zip(EDGES, one["classes"], strict=True)]
    return HistogramMetricFamily(
        name, says, buckets=[*buckets, ("+Inf", one["count"])], sum_value=one["total"]
    )
