"""What an aggregator says about its commits."""

from __future__ import annotations

import aggregate_making as making
import pytest

from methrics.aggregate.cli.aggregate_lines import SAY_EVERY, JsonLines, TextLines
from methrics.aggregate.collect.status import Status
from methrics.aggregate.store.batch import Committed
from methrics.node.cli.log import Log
from methrics.node.clock import ManualClock
from methrics.node.relay.record_state import RecordState
from methrics.schema.judging.records import KnownRecord
from methrics.schema.wire.envelope import split
from methrics.schema.wire.record import decode_record


def test_what_a_revocation_deleted_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    item = split(making.record(making.catalog()))
    known = KnownRecord(item, decode_record(item.payload))
    lines = TextLines(Log(ManualClock(making.NOW), as_json=False))
    lines.event(Committed(reports=3, total=10))
    lines.event(Committed(records=[known], revoked=4, total=6))
    assert "deleted 4 as revoked; 6 in all" in capsys.readouterr().out


def test_a_record_that_is_heard_again_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock(making.NOW)
    lines = TextLines(Log(clock, as_json=False))
    clock.advance(SAY_EVERY)
    lines.event(Committed(refused=1, known=1))
    assert capsys.readouterr().out == ""
    lines.event(Committed(refused=2, known=1, total=10))
    assert capsys.readouterr().out == (
        "2026-09-21T14:20:10Z stored 0 reports, refused 1; 10 in all\n"
    )


def test_without_a_record_in_force_reports_wait_at_an_aggregator(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now, topic = making.NOW, making.catalog().topic
    states = Status(now, (RecordState(topic), RecordState(topic, now - 2, now - 1, 1)))
    TextLines(Log(ManualClock(now), as_json=False)).event(states)
    first, second = capsys.readouterr().out.splitlines()
    assert (
        first == f"2026-09-21T14:20:00Z {topic}: no record yet; its reports wait until one arrives"
    )
    assert second.endswith("; it has expired, so newer reports wait")
    JsonLines(Log(ManualClock(now), as_json=True)).event(states)
    assert '"it has expired, so newer reports wait"' in capsys.readouterr().out
