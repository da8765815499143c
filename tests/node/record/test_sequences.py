"""Sequences: steps in memory, bucketed, bounded, one row at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from methrics.node.outbox.rows import Pending
from methrics.node.process import exits
from methrics.node.record.recorder import SEQUENCES_MAX
from methrics.schema.errors import LocalError
from methrics.schema.wire.codec import decode
from methrics.schema.wire.verdict import Reason

if TYPE_CHECKING:
    from conftest import Shop


def rows(app: Shop) -> list[Pending]:
    return app.journal.pending(1 << 40).rows


def steps(row: Pending) -> object:
    assert row.steps is not None
    return decode(row.steps, limit=999)


@pytest.mark.shows("KPI-2", "KPI-4")
def test_one_row_with_bucketed_offsets(app: Shop) -> None:
    app.allow()
    begun = app.clock.now()
    with app.recorder.sequence("buy", color="red") as sequence:
        app.clock.advance(500)  # before the first step: not recorded
        assert sequence.step("shown")
        app.clock.advance(4.9)
        assert sequence.step("paid")
        app.clock.advance(1000)
        assert sequence.set(color="green", size=5)
        assert sequence.step("left")
        assert rows(app) == []
    [row] = rows(app)
    assert steps(row) == [["shown", 0], ["paid", 0], ["left", 2]]
    assert decode(row.fields, limit=999) == {"color": "green", "size": 0}
    assert row.time == begun - begun % 600
    sequence.finish()
    assert sequence.step("left") is False
    assert len(rows(app)) == 1
    buy = app.catalog.types["buy"]
    assert buy.check_report({}, None, 1, steps(row), row.time) is Reason.OK


@pytest.mark.shows("KPI-4")
def test_steps_are_bounded_and_counted(app: Shop) -> None:
    app.allow()
    with app.recorder.sequence("buy") as sequence:
        assert [sequence.step("shown") for _ in range(6)] == [True] * 4 + [False] * 2
        assert not sequence.step("teleported")
    assert app.recorder.statistics().dropped == {"too-many-steps": 2, "unknown-step": 1}
    assert len(rows(app)) == 1


@pytest.mark.shows("KPI-15")
def test_empty_sequences_are_refused(app: Shop) -> None:
    app.allow()
    with app.recorder.sequence("buy", color="red"):
        pass
    assert rows(app) == []
    assert app.recorder.statistics().dropped == {"empty": 1}


def test_giving_up_is_recorded_and_the_error_goes_on(app: Shop) -> None:
    app.allow()

    def give_up() -> None:
        with app.recorder.sequence("buy") as sequence:
            sequence.step("shown")
            raise KeyError("the app's own")

    with pytest.raises(KeyError):
        give_up()
    assert len(rows(app)) == 1


@pytest.mark.shows("KPI-15")
def test_open_sequences_are_recorded_on_exit(app: Shop) -> None:
    app.allow()
    app.recorder.sequence("buy").step("shown")
    app.recorder.sequence("buy")
    exits._leave_all()
    assert len(rows(app)) == 1


@pytest.mark.shows("MIM-2")
def test_consent_withdrawn_in_between(app: Shop) -> None:
    from methrics.node.consent.ledger import grant, withdraw

    app.allow()
    fewer, none = app.recorder.sequence("buy", color="red", size=5), app.recorder.sequence("buy")
    fewer.step("shown")
    none.step("shown")
    grant(app.paths, app.namespace, ["buy"], fields=["size"], now=0)
    assert not fewer.finish(), "steps from before another answer are not covered by it"
    later = app.recorder.sequence("buy", color="red", size=5)
    later.step("shown")
    withdraw(app.paths, app.namespace, now=1)
    assert not none.finish()
    grant(app.paths, app.namespace, ["buy"], now=2)
    assert not later.finish(), "a no lay between its steps and its end"
    again = app.recorder.sequence("buy", size=5)
    again.step("shown")
    assert again.finish()
    assert [decode(row.fields, limit=999) for row in rows(app)] == [{"size": 0}]


def test_sequences_that_are_never_ended_are_bounded(app: Shop) -> None:
    app.allow()
    opened = [app.recorder.sequence("buy") for _ in range(SEQUENCES_MAX + 3)]
    assert app.recorder.statistics().dropped == {"too-many-sequences": 3}
    assert opened[-1].step("shown") is False


def test_strict_raises_for_unknown_steps(app: Shop) -> None:
    app.allow()
    sequence = app.open(strict=True).sequence("buy")
    with pytest.raises(LocalError, match="teleported"):
        sequence.step("teleported")
