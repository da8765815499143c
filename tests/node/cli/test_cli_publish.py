"""`methrics publish --once` says what it waits for, and why other reports do not leave."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from methrics.node.cli.publish import _say, publish
from methrics.node.cli.waiting import waiting_lines
from methrics.node.consent.ledger import grant
from methrics.node.mine.preview import look
from methrics.node.outbox.periods import DAY
from methrics.node.outbox.records import Kept, Records
from methrics.node.paths import user_paths
from methrics.node.publish.permission import consent_of
from methrics.node.publish.publisher import NETWORK
from methrics.node.publish.results import PassResult
from methrics.schema.errors import ConfigError
from methrics.schema.wire.record import sign_record

if TYPE_CHECKING:
    from conftest import Shop

RELAY = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWOne"


def lines(app: Shop) -> list[str]:
    consent = consent_of(app.paths, app.namespace, "relay", app.clock)()
    found = look(app.paths, app.namespace, consent, "relay", app.clock)
    assert found is not None
    return list(waiting_lines(found, app.clock.now()))


def once(home: Path, *more: str, code: int = 0) -> str:
    argv = ["--once", "--relay", RELAY, "--home", str(home), *more]
    done = CliRunner().invoke(publish, argv, catch_exceptions=False)
    assert done.exit_code == code
    return done.output


def test_the_next_report_is_named_with_its_time(app: Shop) -> None:
    app.allow()
    assert app.recorder.record("view", color="red")
    (line,) = lines(app)
    assert line.startswith("next: view, 20")
    assert " UTC, in " in line
    app.clock.advance(DAY)
    (line,) = lines(app)
    assert line.endswith(" UTC, now")


def test_each_kind_of_report_that_does_not_leave_is_named_with_its_reason(app: Shop) -> None:
    app.allow()
    for _ in range(3):
        assert app.recorder.record("view", color="red")
    assert app.recorder.record("click", color="red")
    grant(app.paths, app.namespace, ["view"], now=app.clock.now(), routes=["direct"])
    first, second = lines(app)
    assert first.startswith("next: click, ")
    assert second == "waits: view, 3 times: not allowed by this route now"


def test_a_withheld_report_is_named_with_the_reason_of_the_threshold(app: Shop) -> None:
    app.allow()
    assert app.recorder.record("view", color="red")
    Path(app.paths.config, "threshold.json").write_text("nonsense")
    (line,) = lines(app)
    assert line.startswith("withheld: view: ")
    assert "threshold.json" in line


def test_reports_that_wait_for_a_record_are_named_with_the_time_of_the_next_look(app: Shop) -> None:
    app.allow()
    assert app.recorder.record("view", color="red")
    journal = app.journal
    expired = sign_record([], b"s" * 32, time=0, expires=1)
    Records(journal).save(Kept((expired.raw,), 1))
    first, second = lines(app)
    assert first.startswith("the record is asked for again at 20")
    assert second == "waits: view: the record of the app's catalogs has expired"


def test_after_a_yes_nothing_is_recorded_yet(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no app has recorded anything"):
        once(tmp_path)
    name = "shop-abcdefghijklmnop"
    grant(user_paths(tmp_path), name, ["view"], now=1_800_000_000)
    assert once(tmp_path) == f"{name}: nothing recorded yet\n"
    assert once(tmp_path, "--app", name) == f"{name}: nothing recorded yet\n"
    assert not (tmp_path / name).exists()


def test_a_pass_in_which_no_relay_took_anything_says_which_relays_and_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = PassResult(made=2, postponed=Counter(unreachable=2), unusable={RELAY: "it is down"})
    _say("shop", "relay", False, done)
    assert capsys.readouterr().out.splitlines() == [
        "shop: made 2, postponed 2",
        "shop: no relay or peer accepted the reports; they are tried again later",
        f"shop: relay {RELAY}: it is down",
    ]
    _say("shop", "direct", True, done)
    told = json.loads(capsys.readouterr().out)
    assert (told["postponed"], told["unusable"]) == ({"unreachable": 2}, {RELAY: "it is down"})


def test_what_was_given_up_is_named_once_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _say("shop", "relay", False, PassResult(struck=Counter(revoked=1)))
    assert capsys.readouterr().out == "shop: struck 1 (revoked)\n"
    done = PassResult(acknowledged=1, struck=Counter(revoked=1, late=2), unusable={RELAY: "down"})
    _say("shop", "relay", False, done)
    assert capsys.readouterr().out == "shop: acknowledged 1, struck 3 (1 revoked, 2 late)\n"


def test_programs_get_the_next_time_and_the_reasons(app: Shop) -> None:
    app.allow()
    assert app.recorder.record("view", color="red")
    app.recorder.close()
    assert app.paths.home is not None
    # Nothing is due yet, but a visit is tried, and nobody answers.
    said = once(Path(app.paths.home), "--json", code=NETWORK)
    documents = [json.loads(line) for line in said.splitlines()]
    assert documents[-1]["event"] == "waiting"
    assert {"app", "next", "held"} < documents[-1].keys()
