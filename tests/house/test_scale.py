"""docs/scale.md is computed from measured figures; the computation itself is checked here."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import measured
import pytest
import scale
from hypothesis import given
from hypothesis import strategies as st
from measured import MeasuredError

from methrics.node.relay.mixer import ITEM_COST, MixLimits

TEXT = measured.FILE.read_text("utf-8")
KNOWN = measured.read(TEXT)
WEEKLY, MIX = scale.uses(KNOWN)


@pytest.mark.shows("MARS-14")
def test_a_billion_users_are_1653_reports_a_second() -> None:
    assert round(scale.need(KNOWN, 1_000_000_000, WEEKLY).rate) == 1653


@given(st.integers(1000, 10**9), st.floats(0.01, 50), st.sampled_from([WEEKLY, MIX]))
def test_more_installs_never_need_less(installs: int, per_day: float, use: scale.Use) -> None:
    use = replace(use, per_day=per_day)
    one, two = (scale.need(KNOWN, count, use) for count in (installs, 2 * installs))
    for name in ("per_day", "relays", "bundles", "traffic", "cores", "file", "raw", "types"):
        assert getattr(one, name) <= getattr(two, name) * (1 + 1e-9), name
    assert one.shards <= two.shards or not two.shards
    assert two.raw == pytest.approx(2 * one.raw)


@given(st.integers(1000, 10**9))
def test_the_relays_have_room_for_all_that_rests(installs: int) -> None:
    one = scale.need(KNOWN, installs, MIX)
    room = one.relays * MixLimits().bytes_max
    assert room >= 2 * one.per_day * (MIX.bytes + ITEM_COST)
    large = scale.need(KNOWN, installs, MIX, scale.LARGE)
    assert large.relays <= one.relays


@given(st.floats(0.1, 200_000))
def test_shards_keep_up_or_are_too_few(busiest: float) -> None:
    shards = scale.shards_for(KNOWN, busiest)
    each = scale.shard_us(KNOWN, shards or scale.SHARDS[-1])
    rate = KNOWN["ingest_rate"] * KNOWN["ingest_us"] / each
    assert (busiest <= scale.ROOM * rate) == bool(shards)


def test_gossip_takes_its_part_of_what_one_aggregator_can_do() -> None:
    busiest = 0.6 * KNOWN["ingest_rate"]
    able = scale.ROOM * KNOWN["ingest_rate"] * KNOWN["ingest_us"] / 1e6
    assert scale.shards_for(KNOWN, busiest) == 1
    assert scale.shards_for(KNOWN, busiest, able / 6) == 2
    assert scale.shards_for(KNOWN, busiest, able * 2) == 2  # of which each is a leaf


def test_what_lies_beyond_a_measurement_is_marked() -> None:
    small, large = (scale.need(KNOWN, count, MIX) for count in (1000, 100_000_000_000))
    for _, row in scale.ROWS:
        assert not scale.extrapolated(KNOWN, small, row)
        assert scale.extrapolated(KNOWN, large, row) == (row not in ("per_day", "rates", "topics"))
    wide = replace(small, relays=1001)  # than were ever simulated
    for row in (*scale.BEYOND_RATE, *scale.COSTS):
        assert scale.extrapolated(KNOWN, wide, row)
    assert not scale.extrapolated(KNOWN, wide, "file")
    table = scale.section().partition("### What was measured")[0]
    last = [line.split("|")[-2].strip() for line in table.splitlines() if line.startswith("| cost")]
    assert all(re.fullmatch(r"\*.*\*", cell) for cell in last)


def test_every_figure_comes_from_a_key_that_its_benchmark_documents() -> None:
    for one in KNOWN.figures.values():
        path = measured.ROOT / one.command.partition(" ")[0]
        text = path.read_text("utf-8")
        assert path.is_file()
        assert one.value > 0
        key = one.key.partition(".")[0]
        assert key.partition("_1")[0] in text, f"{one.name}: {one.key}"


def test_figures_are_taken_from_the_output_of_a_benchmark() -> None:
    result = {"nodes_1000": [1.0, 7.5], "listeners_100": [1.0, 99], "other": 3}
    text = measured.taken(
        TEXT, "benchmarks/bench_mesh.py --scale", result, "shared-2", date(2027, 1, 2)
    )
    found = measured.read(text)
    assert (found["mesh_copies"], found["leaf_copies"]) == (7.5, 99)
    assert found.figures["mesh_copies"].date == date(2027, 1, 2)
    changed = {name for name, one in found.figures.items() if one != KNOWN.figures[name]}
    assert changed == {"mesh_copies", "leaf_copies"}
    assert found.assumptions == KNOWN.assumptions
    with pytest.raises(MeasuredError, match=r"the output has no listeners_100\.1"):
        measured.taken(text, "benchmarks/bench_mesh.py --scale", {"nodes_1000": [1, 2]}, "x", DAY)
    with pytest.raises(MeasuredError, match="no figure comes from"):
        measured.taken(text, "benchmarks/bench_none.py", result, "shared-2", DAY)
    with pytest.raises(MeasuredError, match="not described"):
        measured.taken(text, "benchmarks/bench_mesh.py --scale", result, "x", DAY)


DAY = date(2027, 1, 2)


@pytest.mark.parametrize(
    "change",
    [("value = 2\n", 'value = "2"\n'), ("key =", "kee ="), ("[figures.", "[other.")],
    ids=["no number", "an unknown key", "an unknown table"],
)
def test_a_wrong_file_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(MeasuredError):
        measured.read(TEXT.replace(*change, 1))


def test_the_tool_writes_the_file_and_says_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "measured.toml"
    copy.write_text(TEXT)
    monkeypatch.setattr(measured, "FILE", copy)
    line = json.dumps({"receiver_cpu_ms": 12.5})
    assert measured.main(["bench_gossip.py", "shared-2"], f"words\n{line}\n") == 0
    assert "gossip_ms: " in capsys.readouterr().out
    assert measured.load()["gossip_ms"] == 12.5
    assert measured.main(["bench_gossip.py", "shared-2"], "words\n") == 1
    assert measured.main(["bench_gossip.py", "shared-2"], '{"lost": 0}\n') == 1
    assert measured.main([], "") == 2
    assert "the output has no receiver_cpu_ms" in capsys.readouterr().err
