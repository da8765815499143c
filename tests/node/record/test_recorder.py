"""The recorder as an app sees it: what is recorded, what is not, and that it never raises."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

import methrics.node
from methrics.node.process import exits
from methrics.node.record.recorder import Recorder
from methrics.schema.errors import LocalError
from methrics.schema.wire.codec import decode

if TYPE_CHECKING:
    from conftest import Shop

LATER = 1 << 40


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Each test may log one line, as a new process may."""
    exits._state["warned"] = False


def kept(app: Shop) -> list[dict[str, object]]:
    return [decode(row.fields, limit=999) for row in app.journal.pending(LATER).rows]  # type: ignore[misc]


@pytest.mark.shows("METH-5", "DEB-1")
def test_without_consent_nothing_is_touched(app: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("no network, no thread, no random bytes without consent")

    for target, name in (
        (socket, "socket"),
        (socket, "getaddrinfo"),
        (threading.Thread, "start"),
        (subprocess, "Popen"),
        (os, "urandom"),
        (os, "makedirs"),
        (os, "mkdir"),
    ):
        monkeypatch.setattr(target, name, refuse)
    for recorder in (app.recorder, app.open()):
        for _ in range(3):
            assert recorder.record("view", color="red") is False
            assert recorder.record("no such type", whatever=object()) is False
            assert recorder.count("click", 3, color="red") is False
            with recorder.sequence("buy", color="red") as sequence:
                assert sequence.step("shown") is False
            assert recorder.facts("view") == {}
            app.clock.advance(5)
        recorder.close()
        assert recorder.statistics().rule == "default"
        assert recorder.statistics().dropped == {"unknown-type": 3}
    assert app.paths.home is not None
    assert not os.path.exists(app.paths.home)


OFF = """
import sys, threading
import methrics.node
r = methrics.node.open(sys.argv[1], app_version="1.4")
assert not r.record("view", color="red")
heavy = {"methrics._vendor", "trio", "nacl", "sqlite3", "json", "logging", "subprocess",
         "dataclasses", "inspect", "pathlib", "asyncio", "socket", "ssl", "duckdb", "random"}
print(sorted(heavy & set(sys.modules)), threading.active_count())
"""


@pytest.mark.wire
def test_an_app_without_consent_loads_no_heavy_module(app: Shop, tmp_path: Path) -> None:
    catalog = tmp_path / "shop.cbor"
    catalog.write_bytes(app.catalog.raw)
    done = subprocess.run(
        [sys.executable, "-I", "-c", OFF, str(catalog)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"HOME": str(tmp_path / "user")},
    )
    assert done.stdout.strip() == "[] 1"
    assert done.stderr == ""
    assert not (tmp_path / "user").exists()


@pytest.mark.shows("METH-14", "KPI-3")
def test_values_are_coerced_before_they_are_stored(app: Shop) -> None:
    app.allow()
    recorder = app.open(app_version="3.2.1")
    assert recorder.record("view", color="ultraviolet", size=55)
    assert kept(app) == [{"color": "other", "size": 1, "version": "3.2"}]
    [row] = app.journal.pending(LATER).rows
    assert row.time % 600 == 0
    assert 0 <= app.clock.now() - row.time < 600
    assert 300 <= row.due - app.clock.now() <= 900
    assert app.journal.catalogs() == {row.catalog: app.catalog.raw}


@pytest.mark.shows("METH-5")
def test_only_types_and_fields_with_consent_are_kept(app: Shop) -> None:
    app.allow("view", fields=["color"])
    assert app.recorder.record("view", color="red", size=5)
    assert not app.recorder.record("click", color="red")
    assert not app.recorder.record("view", size=5), "nothing would be left to say"
    assert kept(app) == [{"color": "red"}]
    assert app.recorder.statistics().dropped == {"empty": 1}


def test_each_kind_has_its_own_rows(app: Shop) -> None:
    app.allow()
    r = app.recorder
    assert r.record("click", color="red")
    assert r.count("click", 4, color="red")
    assert r.count("click", color="green")
    assert r.record("visit", color="red")
    assert r.record("visit", color="green")
    rows = {(row.table, row.fields): row.total for row in app.journal.pending(LATER).rows}
    assert sorted(total for total in rows.values() if total) == [1, 5]
    assert [fields for table, fields in rows if table == "state"] == [b"\xa1ecoloregreen"]
    window = next(row for row in app.journal.pending(LATER).rows if row.table == "counter")
    assert window.time % 86_400 == 0
    assert window.due >= window.time + 86_400 + 300


def test_a_state_may_consist_of_fields_that_the_node_fills_in(app: Shop) -> None:
    app.allow("visit", fields=["daily"])
    assert app.recorder.record("visit", color="red")
    assert kept(app) == [{}]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda r: r.record("view", color=3), "wrong-value"),
        (lambda r: r.record("view", shoe_size=43), "wrong-value"),
        (lambda r: r.record("view", size=[1]), "wrong-value"),
        (lambda r: r.record("visit", daily=True), "reserved-field"),
        (lambda r: r.record("buy", color="red"), "wrong-kind"),
        (lambda r: r.count("view", 1, color="red"), "wrong-kind"),
        (lambda r: r.count("click", 0, color="red"), "wrong-value"),
        (lambda r: r.count("click", True, color="red"), "wrong-value"),
        (lambda r: r.count("click", 1 << 40, color="red"), "wrong-value"),
        (lambda r: r.record("view"), "empty"),
        (lambda r: r.record("ghost", color="red"), "unknown-type"),
        (lambda r: bool(r.sequence("view").event_type), "wrong-kind"),
    ],
)
def test_wrong_use_is_counted_and_raised_only_when_strict(
    app: Shop, call: object, reason: str
) -> None:
    app.allow(*app.catalog.types, "ghost")
    assert callable(call)
    assert call(app.recorder) is False
    assert app.recorder.statistics().dropped == {reason: 1}
    strict = app.open(strict=True)
    if reason == "empty":
        assert call(strict) is False
    else:
        with pytest.raises(LocalError) as caught:
            call(strict)
        assert caught.value.code == reason
    assert kept(app) == []


def test_an_unknown_type_raises_if_strict_even_without_consent(app: Shop) -> None:
    strict = app.open(strict=True)
    calls = (strict.record, strict.record, strict.count, strict.sequence)
    for call in calls:  # the second is answered from the cached switch
        with pytest.raises(LocalError, match="no event type 'ghost'"):
            call("ghost")
    assert not strict.record("view", color="red")
    assert not app.recorder.record("ghost")
    assert app.recorder.statistics().dropped == {"unknown-type": 1}


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda r: r.record("view", color=3), "wrong-value"),
        (lambda r: r.record("view", shoe_size=43), "wrong-value"),
        (lambda r: r.record("visit", daily=True), "reserved-field"),
        (lambda r: r.count("view", 1, color="red"), "wrong-kind"),
        (lambda r: r.count("click", 0), "wrong-value"),
        (lambda r: r.record("ghost"), "unknown-type"),
        (lambda r: bool(r.sequence("ghost").event_type), "unknown-type"),
    ],
)
def test_wrong_use_is_visible_without_consent(app: Shop, call: object, reason: str) -> None:
    assert callable(call)
    assert call(app.recorder) is False
    assert app.recorder.statistics().dropped == {reason: 1}
    strict = app.open(strict=True)
    for _ in range(2):
        with pytest.raises(LocalError) as caught:
            call(strict)
        assert caught.value.code == reason
    assert app.paths.home is not None
    assert not os.path.exists(app.paths.home)


@pytest.mark.shows("KPI-6")
def test_sampling_is_by_the_declared_denominators(app: Shop) -> None:
    app.allow()
    # A record that the sample takes draws a second time, for when it is due.
    drawn = iter([0.05, 0.5, 0.5, 0.0999, 0.5, 0.1])
    recorder = app.open(sampling={"view": 10}, rng=lambda: next(drawn))
    assert [recorder.record("view", color="red") for _ in range(3)] == [True, False, True]
    assert [row.one_in for row in app.journal.pending(LATER).rows] == [10, 10]
    assert not recorder.record("view", color="red")
    assert recorder.statistics().dropped == {"not-sampled": 2}
    assert not app.open(sampling={"view": 3}).record("view", color="red")


@pytest.mark.shows("METH-15", "DEB-10")
def test_expired_types_are_not_recorded(app: Shop) -> None:
    app.allow()
    app.clock.advance(10 * 365 * 86_400)
    assert not app.recorder.record("view", color="red")
    assert app.recorder.statistics().dropped == {"expired": 1}


@pytest.mark.shows("METH-15")
def test_withdrawn_consent_stops_at_once(app: Shop) -> None:
    from methrics.node.consent.ledger import withdraw

    app.allow()
    assert app.recorder.record("view", color="red")
    withdraw(app.paths, app.namespace, ["view"], now=0)
    assert not app.recorder.record("view", color="red")


@pytest.mark.parametrize("catalog", [b"", b"\x00" * 99, "no/such/file", None, 7])
def test_an_unusable_catalog_does_not_fail_the_app(
    catalog: object, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        recorder = methrics.node.open(catalog)  # type: ignore[arg-type]
        for _ in range(3):
            assert recorder.record("view", color="red") is False
        recorder.close()
    assert sum(recorder.statistics().dropped.values()) == 1
    assert len(caplog.records) == 1
    with pytest.raises(LocalError):
        methrics.node.open(catalog, strict=True)  # type: ignore[arg-type]


def test_unusable_settings_do_not_fail_the_app(app: Shop) -> None:
    assert app.open(publisher="carrier-pigeon").statistics().dropped == {"bad-setting": 1}
    for wrong in ({"publisher": "x"}, {"sampling": {"view": 0}}, {"environment": ""}):
        with pytest.raises(LocalError):
            app.open(strict=True, **wrong)


def test_a_closed_recorder_stays_closed(app: Shop) -> None:
    app.allow()
    with app.recorder as recorder:
        assert recorder.record("view", color="red")
    assert not recorder.record("view", color="red")
    assert recorder.statistics().dropped == {"closed": 1}
    recorder.close()


def test_many_threads_share_a_recorder(app: Shop) -> None:
    app.allow()

    def work(recorder: Recorder) -> None:
        results.extend(recorder.record("view", size=i) for i in range(100))

    results: list[bool] = []
    threads = [threading.Thread(target=work, args=(app.recorder,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(True) == len(app.journal.pending(LATER, limit=9999).rows)
    assert results.count(True) + sum(app.recorder.statistics().dropped.values()) == 800


def test_from_asyncio(app: Shop) -> None:
    app.allow()

    async def work() -> list[bool]:
        async def one(i: int) -> bool:
            await asyncio.sleep(0)
            return app.recorder.record("view", size=i)

        return await asyncio.gather(*(one(i) for i in range(20)))

    assert asyncio.run(work()) == [True] * 20


async def test_from_trio(app: Shop) -> None:
    app.allow()

    async def one(i: int) -> None:
        await trio.lowlevel.checkpoint()
        assert app.recorder.record("view", size=i)

    async with trio.open_nursery() as nursery:
        for i in range(20):
            nursery.start_soon(one, i)
    assert len(kept(app)) == 20


def test_the_public_names() -> None:
    assert set(methrics.node.__all__) <= set(dir(methrics.node))
    for name in methrics.node.__all__:
        assert getattr(methrics.node, name)
    with pytest.raises(AttributeError):
        methrics.node.nonsense  # noqa: B018


@pytest.mark.shows("MIM-3")
def test_mim_3_unknown_words_are_only_counted(app: Shop) -> None:
    app.allow()
    for color in ("a module of mine", "another of mine"):
        assert app.recorder.count("click", 2, color=color)
    [row] = app.journal.pending(LATER).rows
    assert (kept(app), row.total) == ([{"color": "other"}], 4)
    folder = Path(app.paths.namespace(app.namespace))
    assert all(b"of mine" not in path.read_bytes() for path in folder.rglob("*") if path.is_file())
