"""The OpenTelemetry bridge with the real SDK: only declared values are recorded, each once."""

from __future__ import annotations

import math
import os
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics._internal import _view_instrument_match, metric_reader_storage
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

import methrics.node
from methrics.node.bridges.histograms import bounds_for, explicit, exponential, inside, spread
from methrics.node.bridges.otel import Exporter
from methrics.node.clock import ManualClock
from methrics.node.consent.ledger import grant, withdraw
from methrics.node.outbox.journal import Journal
from methrics.node.paths import user_paths
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import LocalError
from methrics.schema.wire.codec import decode
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import decode_report

if TYPE_CHECKING:
    from conftest import Post, Shop

LATER = 1 << 40
GUIDE = Path(__file__).resolve().parents[3] / "docs" / "otel.md"


class Telemetry:
    """An app's real SDK, whose reader exports when a test says so."""

    def __init__(
        self, app: Shop, *, views: object = None, every: float = math.inf, **mapping: Any
    ) -> None:
        self.exporter = Exporter(app.recorder, **mapping)
        self.reader = PeriodicExportingMetricReader(self.exporter, every)
        self.provider = MeterProvider(
            [self.reader],
            Resource({"host.name": "janes-laptop"}),
            exemplar_filter=AlwaysOnExemplarFilter(),
            shutdown_on_exit=False,
            views=self.exporter.views() if views is None else views,  # type: ignore[arg-type]
        )
        self.meter = self.provider.get_meter("app")

    def flush(self) -> None:
        self.provider.force_flush()

    @property
    def dropped(self) -> dict[str, int]:
        return self.exporter.statistics().dropped

    @property
    def left_out(self) -> dict[str, int]:
        return self.exporter.statistics().left_out


@pytest.fixture
def telemetry(app: Shop) -> Iterator[Telemetry]:
    app.allow()
    found = Telemetry(app)
    yield found
    found.provider.shutdown()


def sums(of: Shop | Journal) -> dict[tuple[object, ...], int]:
    """The waiting rows of the count `click`: total by (color, size)."""
    found: Counter[tuple[object, ...]] = Counter()
    journal = of if isinstance(of, Journal) else of.journal
    rows = journal.pending(LATER).rows if journal.exists() else []
    journal.close()
    for row in rows:
        if row.type == "click":
            values = decode(row.fields, limit=999)
            assert isinstance(values, dict)
            assert values.keys() <= {"color", "size", "version"}
            found[values.get("color"), values.get("size")] += row.total or 0
    return dict(found)


def state(app: Shop) -> object:
    rows = [row for row in app.journal.pending(LATER).rows if row.type == "visit"]
    return [decode(row.fields, limit=999) for row in rows]


def test_only_declared_counts_leave_as_reports(telemetry: Telemetry, app: Shop, post: Post) -> None:
    tracer = TracerProvider().get_tracer("app")
    with tracer.start_as_current_span("a span, so that there are exemplars"):
        telemetry.meter.create_counter("click").add(
            3, {"color": "red", "size": 50, "user.email": "jane@example.org"}
        )
    telemetry.meter.create_gauge("visit").set(7.5, {"color": "a secret", "person": "Jane"})
    telemetry.meter.create_counter("jane.secret").add(1)
    assert trace.get_current_span() is trace.INVALID_SPAN
    telemetry.flush()
    raw = b"".join(path.read_bytes() for path in Path(app.paths.data).rglob("outbox.db*"))
    app.clock.advance(3 * 86_400)
    post.publish()
    raw += b"".join(post.sent)
    assert not [word for word in (b"jane", b"Jane", b"secret", b"email") if word in raw]
    bodies = {one.type: one for one in (decode_report(split(raw).payload) for raw in post.sent)}
    assert bodies.keys() == {"click", "visit"}
    assert (bodies["click"].values, bodies["click"].count) == ({"color": "red", "size": 1}, 3)
    assert bodies["visit"].values == {"color": "other", "size": 0, "daily": True}
    assert telemetry.exporter.statistics() == (4, {"undeclared": 1}, {"undeclared": 2})


def test_names_follow_the_rule_and_a_mapping_comes_before_it(app: Shop) -> None:
    app.allow()
    telemetry = Telemetry(
        app, instruments={"HTTP.server.requests": "click"}, attributes={"http.route": "color"}
    )
    requests = telemetry.meter.create_counter("http.server.requests")
    requests.add(2, {"http.route": "green", "Color": "red"})
    telemetry.meter.create_counter("Click").add(5, {"COLOR": "red"})
    telemetry.flush()
    assert sums(app) == {("green", None): 2, ("red", None): 5}
    assert telemetry.left_out == {"taken": 1}


def test_two_meters_add_up_and_two_views_do_not(app: Shop) -> None:
    app.allow()
    views = [View(instrument_name="click"), View(instrument_name="c*", attribute_keys={"color"})]
    telemetry = Telemetry(app, views=views)
    for meter in ("one", "other"):
        telemetry.provider.get_meter(meter).create_counter("click").add(2, {"color": "red"})
    telemetry.flush()
    assert sums(app) == {("red", None): 4}
    assert telemetry.dropped == {"second-view": 2}


def test_attributes_of_the_wrong_type_are_left_out_and_the_rest_is_counted(
    telemetry: Telemetry, app: Shop
) -> None:
    click = telemetry.meter.create_counter("click")
    click.add(1, {"color": ["red"], "size": "large"})
    click.add(1, {"color": 7, "size": True})
    telemetry.flush()
    assert sums(app) == {(None, None): 1, ("other", None): 1}
    assert telemetry.left_out == {"wrong-value": 3}


def test_attributes_cannot_set_fields_that_the_node_fills_in(
    telemetry: Telemetry, app: Shop
) -> None:
    telemetry.meter.create_gauge("visit").set(50, {"daily": False, "version": "1.2"})
    telemetry.flush()
    assert state(app) == [{"size": 1, "version": "1.2"}]
    assert telemetry.left_out == {"undeclared": 1}


def test_an_observable_counter_counts_its_increases(telemetry: Telemetry, app: Shop) -> None:
    totals = iter([5, 5, 12, 3, 4])

    def look(options: CallbackOptions) -> Iterator[Observation]:
        yield Observation(next(totals), {"color": "red"})

    telemetry.meter.create_observable_counter("click", [look])
    for _ in range(5):
        telemetry.flush()
    assert sums(app) == {("red", None): 5 + 7 + 1}
    assert telemetry.dropped == {"reset": 1}, "it fell from 12 to 3"


def test_a_level_is_a_state_and_never_a_count(telemetry: Telemetry, app: Shop) -> None:
    level = telemetry.meter.create_up_down_counter("visit")
    for change, bucket in ((120, 2), (-30, 1), (-85, 0)):
        level.add(change)
        telemetry.flush()
        assert state(app) == [{"size": bucket}]
    other = telemetry.meter.create_up_down_counter("click")
    other.add(5)
    other.add(-2)
    telemetry.flush()
    assert sums(app) == {}
    assert telemetry.dropped == {"not-monotonic": 1}


def test_a_gauge_is_recorded_again_at_each_export(telemetry: Telemetry, app: Shop) -> None:
    telemetry.meter.create_gauge("visit").set(50)
    for _ in range(3):
        telemetry.flush()
    assert telemetry.exporter.statistics().recorded == 3
    assert state(app) == [{"size": 1}]


def test_a_state_with_several_values_at_once_is_dropped(telemetry: Telemetry, app: Shop) -> None:
    gauge = telemetry.meter.create_gauge("visit")
    gauge.set(50, {"core": 0})
    gauge.set(60, {"core": 1})
    telemetry.flush()
    assert state(app) == []
    assert telemetry.dropped == {"several-at-once": 2}


def test_two_gauges_set_two_fields_of_one_state_or_none(app: Shop) -> None:
    app.allow()
    telemetry = Telemetry(app, instruments={"a": "visit", "b": "visit"})
    first, second = telemetry.meter.create_gauge("a"), telemetry.meter.create_gauge("b")
    first.set(50, {"color": "red"})
    second.set(50, {"version": "1.0"})
    telemetry.flush()
    assert state(app) == [{"color": "red", "size": 1, "version": "1.0"}]
    second.set(5000, {"version": "1.0"})
    telemetry.flush()
    assert telemetry.dropped == {"several-at-once": 2}
    assert state(app) == [{"color": "red", "size": 1, "version": "1.0"}]


def test_a_count_must_be_a_whole_number(telemetry: Telemetry, app: Shop) -> None:
    click = telemetry.meter.create_counter("click")
    click.add(1.5, {"color": "red"})
    click.add(2.0, {"color": "green"})
    telemetry.flush()
    assert sums(app) == {("green", None): 2}
    assert telemetry.dropped == {"not-whole": 1}


def test_points_without_a_number_are_dropped(telemetry: Telemetry, app: Shop) -> None:
    nan, attributes = math.nan, {"color": "red"}
    counts = [NumberDataPoint(attributes, 0, 1, value) for value in (nan, math.inf, -math.inf)]
    level = NumberDataPoint({}, 0, 1, nan)
    observed = HistogramDataPoint(attributes, 0, 1, 2, nan, (1, 1), (10.0,), 5, 5)
    unlike = {"description": "", "unit": ""}
    metrics = [
        Metric("click", data=Sum(counts, AggregationTemporality.DELTA, True), **unlike),
        Metric("visit", data=Gauge([level]), **unlike),
        Metric("Click", data=Histogram([observed], AggregationTemporality.DELTA), **unlike),
    ]
    scope = ScopeMetrics(InstrumentationScope("other"), metrics, "")
    data = MetricsData([ResourceMetrics(Resource({}), [scope], "")])
    assert telemetry.exporter.export(data) is MetricExportResult.SUCCESS
    assert sums(app) == {}
    assert telemetry.dropped == {"not-whole": 3, "not-a-number": 3}


def test_a_count_larger_than_one_call_takes_is_counted_whole(
    telemetry: Telemetry, app: Shop
) -> None:
    telemetry.meter.create_counter("click").add(5_000_000_000, {"color": "red"})
    telemetry.flush()
    assert sums(app) == {("red", None): 5_000_000_000}


def test_an_event_type_of_another_kind_is_not_filled_by_metrics(telemetry: Telemetry) -> None:
    telemetry.meter.create_counter("view").add(1)
    telemetry.meter.create_histogram("buy").record(1)
    telemetry.meter.create_counter("visit").add(1)
    telemetry.flush()
    telemetry.provider.shutdown()
    assert telemetry.dropped == {"wrong-kind": 3}


def test_a_wrong_mapping_raises_if_strict_and_is_left_out_otherwise(app: Shop) -> None:
    app.allow()
    mappings: list[dict[str, Any]] = [
        {"instruments": {"a": "no_such_type"}},
        {"attributes": {"a": "no_such_field"}},
        {"values": {"click": "color"}},
    ]
    for mapping in mappings:
        with pytest.raises(LocalError) as caught:
            Exporter(app.open(strict=True), **mapping)
        assert caught.value.code == "wrong-mapping"
        recorder = app.open()
        Exporter(recorder, **mapping)
        assert recorder.statistics().dropped == {"wrong-mapping": 1}


# -- histograms ------------------------------------------------------------------------------------


def test_a_histogram_with_our_views_is_counted_whole_at_the_edges_too(
    telemetry: Telemetry, app: Shop
) -> None:
    histogram = telemetry.meter.create_histogram("click")
    for value in (0, 9, math.nextafter(10, 0), 10, 10.0, 99.9, 100, 1e300):
        histogram.record(value, {"color": "red"})
    telemetry.flush()
    assert sums(app) == {("red", 0): 3, ("red", 1): 3, ("red", 2): 2}
    assert telemetry.dropped == {}


@pytest.mark.parametrize(
    "aggregation",
    [
        ExplicitBucketHistogramAggregation([5, 10, 100, 200]),
        ExplicitBucketHistogramAggregation([0, 1000], record_min_max=False),
        ExponentialBucketHistogramAggregation(max_size=20),
    ],
)
def test_other_buckets_are_counted_only_where_they_are_sure(aggregation: Any, app: Shop) -> None:
    app.allow()
    draw = random.Random(1)
    telemetry = Telemetry(app, views=[View(instrument_name="click", aggregation=aggregation)])
    histogram = telemetry.meter.create_histogram("click")
    truth: Counter[tuple[object, ...]] = Counter()
    for _ in range(6):
        for _ in range(50):
            value = draw.choice((draw.expovariate(1 / 50), 10, 100, 0, 3))
            histogram.record(value)
            truth[None, sum(value >= edge for edge in (10, 100))] += 1
        telemetry.flush()
    found = sums(app)
    assert all(n <= truth[key] for key, n in found.items())
    assert sum(found.values()) + telemetry.dropped["between-buckets"] == 300
    assert sum(found.values()) > 0


values = st.one_of(
    st.floats(-1e12, 1e12), st.integers(-300, 300), st.sampled_from([0.0, 1.0, 2.0, 0.5, 1024])
)
edges = st.lists(values.map(float), min_size=1, max_size=5, unique=True).map(sorted)


def index(edges: list[float], value: float) -> int:
    return sum(value >= edge for edge in edges)


@given(st.lists(values, min_size=1, max_size=8), edges, edges, st.booleans())
def test_explicit_buckets_are_never_counted_wrongly(
    observed: list[float], ours: list[float], theirs: list[float], extremes: bool
) -> None:
    counts = [0] * (len(theirs) + 1)
    for value in observed:
        counts[sum(value > bound for bound in theirs)] += 1
    least, most = (min(observed), max(observed)) if extremes else (math.inf, -math.inf)
    found, unsure = spread(explicit(theirs, counts), lambda one: index(ours, one), least, most)
    truth = Counter(index(ours, value) for value in observed)
    assert all(n <= truth[bucket] for bucket, n in found.items())
    assert found.total() + unsure == len(observed)
    assert [index(ours, inside(ours, bucket)) for bucket in range(len(ours) + 1)] == list(
        range(len(ours) + 1)
    )
    exact = [0] * (len(ours) + 1)
    for value in observed:
        exact[sum(value > bound for bound in bounds_for(ours))] += 1
    found, unsure = spread(explicit(bounds_for(ours), exact), lambda one: index(ours, one))
    assert (dict(found), unsure) == ({k: n for k, n in truth.items() if n}, 0)


@given(st.lists(values, min_size=1, max_size=8), edges, st.integers(2, 200), st.booleans())
def test_exponential_buckets_are_never_counted_wrongly(
    observed: list[float], ours: list[float], size: int, negative: bool
) -> None:
    reader = InMemoryMetricReader()
    aggregation = ExponentialBucketHistogramAggregation(max_size=size)
    views = [View(instrument_name="h", aggregation=aggregation)]
    provider = MeterProvider([reader], views=views, shutdown_on_exit=False)
    histogram = provider.get_meter("m").create_histogram("h")
    for value in observed:
        histogram.record(abs(value))
    (point,) = only_points(reader.get_metrics_data())
    buckets, none = (point.positive.offset, point.positive.bucket_counts), (0, ())
    both = (none, buckets) if negative else (buckets, none)
    pieces = exponential(point.scale, point.zero_count, *both)
    found, unsure = spread(pieces, lambda one: index(ours, one))
    sign = -1 if negative else 1
    truth = Counter(index(ours, sign * abs(value)) for value in observed)
    assert all(n <= truth[bucket] for bucket, n in found.items())
    assert found.total() + unsure == len(observed)


def only_points(data: MetricsData | None) -> Any:
    assert data is not None
    return data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points


# -- consent ---------------------------------------------------------------------------------------


def test_without_consent_nothing_is_recorded_or_opened(app: Shop) -> None:
    telemetry = Telemetry(app)
    telemetry.meter.create_counter("click").add(3, {"color": "red", "nonsense": 1})
    telemetry.meter.create_histogram("click").record(3)
    telemetry.meter.create_gauge("visit").set(3, {"nonsense": 1})
    telemetry.flush()
    telemetry.provider.shutdown()
    assert telemetry.exporter.statistics() == (0, {"second-view": 1}, {})
    assert not Path(app.paths.data).exists()


def test_fields_that_are_not_shared_are_not_kept(app: Shop) -> None:
    app.allow("click", fields=["size"])
    telemetry = Telemetry(app)
    telemetry.meter.create_counter("click").add(3, {"color": "red", "size": 5})
    telemetry.flush()
    assert sums(app) == {(None, 0): 3}


steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["red", "green"]), st.integers(0, 5)),
        st.sampled_from(["export", "export", "yes", "no"]),
    ),
    max_size=30,
)


@pytest.mark.parametrize("delta", [True, False])
@given(steps=steps)
@settings(max_examples=60)
def test_nothing_is_lost_or_doubled_and_nothing_from_before_a_yes_is_counted(
    delta: bool, shop: Catalog, steps: list[Any]
) -> None:
    clock = ManualClock()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        paths = user_paths(folder, policy=f"{folder}/policy.json")
        recorder = methrics.node.open(
            shop.raw, home=folder, policy=paths.policy, publisher="none", clock=clock
        )
        for module in (metric_reader_storage, _view_instrument_match):
            patch.setattr(module, "time_ns", lambda: clock.now() * 10**9)
        exporter = Exporter(recorder)
        reader = PeriodicExportingMetricReader(exporter, math.inf) if delta else None
        memory = InMemoryMetricReader()
        provider = MeterProvider([reader or memory], shutdown_on_exit=False)
        click = provider.get_meter("app").create_counter("click")

        def export() -> None:
            if reader is not None:
                reader.force_flush()
            elif data := memory.get_metrics_data():
                assert exporter.export(data) is MetricExportResult.SUCCESS

        for color in ("red", "green"):
            click.add(1, {"color": color})
        export()
        on, clean = False, True
        waiting: Counter[str] = Counter()
        expected: Counter[str] = Counter()
        for step in [*steps, "export"]:
            clock.advance(2)
            if isinstance(step, tuple):
                click.add(step[1], {"color": step[0]})
                waiting[step[0]] += step[1]
            elif step == "export":
                export()
                if on and clean:
                    expected += waiting
                waiting.clear()
                clean = True
            elif step == "yes":
                grant(paths, recorder.namespace, ["click"], now=clock.now())
                on, clean = True, False  # what was added since the last export came before it
            else:
                withdraw(paths, recorder.namespace, ["click"], now=clock.now())
                on = False
        found = {
            str(color): n
            for (color, _), n in sums(Journal(paths.outbox(recorder.namespace))).items()
        }
        assert found == {color: n for color, n in expected.items() if n}
        assert exporter.statistics().recorded == expected.total()
        recorder.close()


# -- the life of an exporter -----------------------------------------------------------------------


def test_after_shutdown_nothing_is_recorded_and_the_recorder_is_still_open(app: Shop) -> None:
    app.allow()
    telemetry = Telemetry(app, every=3_600_000)
    click = telemetry.meter.create_counter("click")
    click.add(1, {"color": "red"})
    telemetry.provider.shutdown()
    assert telemetry.exporter.force_flush()
    data = MetricsData([])
    assert telemetry.exporter.export(data) is MetricExportResult.FAILURE
    assert sums(app) == {("red", None): 1}, "shutdown exports what there is, once"
    assert telemetry.dropped == {"closed": 1}
    assert app.recorder.count("click", 1, color="red")


def test_a_damaged_disk_raises_nothing(
    telemetry: Telemetry, app: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **values: object) -> bool:
        raise OSError("the disk is gone")

    monkeypatch.setattr(app.recorder, "count", broken)
    telemetry.meter.create_counter("click").add(1)
    telemetry.flush()
    assert app.recorder.statistics().dropped == {"error": 1}


def test_a_full_outbox_is_counted(telemetry: Telemetry, app: Shop) -> None:
    app.recorder.close()
    telemetry.meter.create_counter("click").add(4)
    telemetry.flush()
    assert telemetry.dropped == {"not-recorded": 4}
    assert app.recorder.statistics().dropped == {"closed": 1}


def test_an_export_ends_by_its_deadline(telemetry: Telemetry, app: Shop) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("app").create_counter("click").add(4)
    data = reader.get_metrics_data()
    assert data is not None
    assert telemetry.exporter.export(data, timeout_millis=0) is MetricExportResult.FAILURE
    assert telemetry.dropped == {"timeout": 4}
    with telemetry.exporter._lock:
        assert telemetry.exporter.export(data, timeout_millis=1) is MetricExportResult.FAILURE
    assert telemetry.dropped == {"timeout": 5}


FORK = """
import math, os, sys
import methrics.node
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from methrics.node.bridges.otel import Exporter

catalog, home, policy = sys.argv[1:]
recorder = methrics.node.open(catalog, home=home, policy=policy, publisher="none")
exporter = Exporter(recorder)
reader = PeriodicExportingMetricReader(exporter, math.inf)
click = MeterProvider([reader]).get_meter("app").create_counter("click")
click.add(1, {"color": "red"})
reader.force_flush()
click.add(2, {"color": "red"})
child = os.fork()
if child == 0:
    reader.force_flush()
    click.add(3, {"color": "green"})
reader.force_flush()
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert exporter.statistics() == (3, {}, {}), exporter.statistics()
else:
    assert exporter.statistics() == (4, {"before-fork": 1}, {}), exporter.statistics()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_does_not_count_again_what_its_parent_counts(app: Shop, tmp_path: Path) -> None:
    run(FORK, app, tmp_path)
    outbox = Journal(app.paths.outbox(app.namespace))
    assert sums(outbox) == {("red", None): 3, ("green", None): 3}


EXIT = """
import sys
import methrics.node
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from methrics.node.bridges.otel import Exporter

catalog, home, policy = sys.argv[1:]
recorder = methrics.node.open(catalog, home=home, policy=policy, publisher="none")
provider = MeterProvider([PeriodicExportingMetricReader(Exporter(recorder))])
click = provider.get_meter("app").create_counter("click")
for color in ("red", "green"):
    click.add(2, {"color": color})
    provider.force_flush()
    click.add(1, {"color": color})
"""


def test_the_last_measurements_are_recorded_when_the_app_exits(app: Shop, tmp_path: Path) -> None:
    run(EXIT, app, tmp_path)
    outbox = Journal(app.paths.outbox(app.namespace))
    assert sums(outbox) == {("red", None): 3, ("green", None): 3}


def run(code: str, app: Shop, folder: Path) -> None:
    """Runs a program on the machine of a person who agreed long ago."""
    grant(app.paths, app.namespace, ["click"], now=1_700_000_000)
    catalog = folder / "shop.cbor"
    catalog.write_bytes(app.catalog.raw)
    paths = (str(catalog), app.paths.home, app.paths.policy)
    subprocess.run([sys.executable, "-W", "error", "-c", code, *paths], check=True, timeout=60)


def test_the_guide_lists_every_reason() -> None:
    page = GUIDE.read_text("utf-8")
    package = Path(sys.modules[Exporter.__module__].__file__ or "").parent
    found = {
        word
        for name in ("otel.py", "declared.py", "streams.py")
        for word in _reasons((package / name).read_text("utf-8"))
    }
    assert len(found) > 15
    assert {word for word in found if f"`{word}`" not in page} == set()


def _reasons(code: str) -> Iterator[str]:
    """Reasons that are counted: arguments of a tally, and returned reasons."""
    for pattern in (
        r'(?:add|append)\(\s*"([a-z-]+)"',
        r'return "([a-z-]+)"',
        r'point, "([a-z-]+)"\)',
        r'why = "([a-z-]+)"',
        r'else "([a-z-]+)"',
        r'LocalError\("([a-z-]+)"',
    ):
        yield from re.findall(pattern, code)
