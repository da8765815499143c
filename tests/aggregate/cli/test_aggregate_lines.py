"""What an aggregator says about its commits."""

from __future__ import annotations

import aggregate_making as making
import pytest

from methrics.aggregate.cli.aggregate_lines import TextLines
from methrics.aggregate.store.batch import Committed
from methrics.node.clock import ManualClock
from methrics.schema.judging.records import KnownRecord
from methrics.schema.wire.envelope import split
from methrics.schema.wire.record import decode_record


def test_what_a_revocation_deleted_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    item = split(making.record(making.catalog()))
    known = KnownRecord(item, decode_record(item.payload))
    lines = TextLines(ManualClock(making.NOW))
    lines.event(Committed(reports=3, total=10))
    lines.event(Committed(records=[known], revoked=4, total=6))
    assert "deleted 4 as revoked; 6 in all" in capsys.readouterr().out
