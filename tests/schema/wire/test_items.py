"""Payloads: encoding and decoding agree, and decoders raise only RefusedError."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.schema.errors import RefusedError
from methrics.schema.wire import items
from methrics.schema.wire.codec import encode
from methrics.schema.wire.items import (
    Announcement,
    Erasure,
    News,
    Report,
    decode_announcement,
    decode_erasure,
    decode_report,
    encode_announcement,
    encode_erasure,
    encode_report,
)
from methrics.schema.wire.limits import TIME_MAX, WORD_MAX
from methrics.schema.wire.reading import BARRED
from methrics.schema.wire.verdict import Reason

ids = st.binary(min_size=32, max_size=32)
times = st.integers(0, TIME_MAX)
text = st.text(st.characters(codec="utf-8"), max_size=12)
lines = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=60)
words = st.text(st.characters(min_codepoint=0x61, max_codepoint=0x7A), min_size=1, max_size=9)
wires = st.booleans() | st.integers(0, 300) | text

reports = st.builds(
    Report,
    catalog=ids,
    type=text,
    time=times,
    values=st.dictionaries(text, wires, max_size=6),
    count=st.none() | st.integers(1, 2**64 - 1),
    one_in=st.integers(1, 1000),
    sequence=st.none()
    | st.lists(st.tuples(text, st.integers(0, 99)), min_size=1, max_size=5).map(tuple),
)
announcements = st.builds(
    Announcement,
    time=st.integers(0, 10**9),
    expires=st.integers(10**9 + 1, TIME_MAX),
    news=st.lists(
        st.builds(News, lines, st.none() | words.map("https://{}".format)), max_size=8
    ).map(tuple),
    newest_version=st.none() | lines,
    report_interval=st.none() | st.integers(86_400, 2**63),
    relays=st.lists(lines, max_size=8).map(tuple),
    selector=st.dictionaries(words, st.lists(words, max_size=5).map(tuple), max_size=8),
)


@given(reports)
def test_reports_survive(report: Report) -> None:
    assert decode_report(encode_report(report)) == report
    assert decode_report(encode_report(report)) == report  # the second time from the cache


@given(ids, ids, times)
def test_erasures_survive(catalog: bytes, inner: bytes, time: int) -> None:
    erasure = Erasure(catalog, inner, time // 86_400)
    assert decode_erasure(encode_erasure(erasure)) == erasure


@pytest.mark.shows("MARS-12")
@given(announcements)
def test_announcements_survive(announcement: Announcement) -> None:
    assert decode_announcement(encode_announcement(announcement)) == announcement


DECODERS: list[Callable[[bytes], object]] = [
    decode_report,
    decode_erasure,
    decode_announcement,
]
KEYS = """
catalog type time values count one_in sequence inner day expires news newest_version
report_interval relays selector text url
"""
keys = st.sampled_from(sorted(KEYS.split()))
noise = st.recursive(
    wires | ids | times | st.integers(-5, 2**64 - 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | text, inner, max_size=7),
    max_leaves=20,
)


@pytest.mark.parametrize("decoder", DECODERS)
@given(data=st.binary(max_size=80) | noise.map(encode))
def test_any_payload_is_read_or_refused(decoder: Callable[[bytes], object], data: bytes) -> None:
    """Any exception other than RefusedError fails this test."""
    with suppress(RefusedError):
        decoder(data)


GOOD: dict[Callable[[bytes], object], dict[str, Any]] = {
    decode_report: {"catalog": bytes(32), "type": "t", "time": 0, "values": {}},
    decode_erasure: {"catalog": bytes(32), "inner": bytes(32), "day": 0},
    decode_announcement: {"time": 0, "expires": 1},
}


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_missing_or_mistyped_mandatory_key_is_refused(
    decoder: Callable[[bytes], object],
) -> None:
    good = GOOD[decoder]
    decoder(encode(good))
    for name in good:
        for wrong in ([], True, -1, b"x", TIME_MAX + 1):
            with pytest.raises(RefusedError):
                decoder(encode(good | {name: wrong}))
        with pytest.raises(RefusedError):
            decoder(encode({key: value for key, value in good.items() if key != name}))


@pytest.mark.parametrize("decoder", DECODERS[:2])
def test_an_unknown_key_is_refused(decoder: Callable[[bytes], object]) -> None:
    with pytest.raises(RefusedError):
        decoder(encode(GOOD[decoder] | {"user": "eve"}))


@pytest.mark.shows("MARS-12")
def test_an_announcement_ignores_unknown_keys() -> None:
    body = {"time": 0, "expires": 1, "mood": [{"deep": True}], "news": [{"text": "a", "tone": 1}]}
    assert decode_announcement(encode(body)) == Announcement(0, 1, news=(News("a"),))


@pytest.mark.parametrize(
    "change",
    [
        {"expires": 0},
        {"news": "text"},
        {"news": [{"text": "a"}] * 9},
        {"news": [{"text": ""}]},
        {"news": [{"text": "a" * 501}]},
        {"news": [{"text": "\x1b[31m"}]},
        {"news": [{"text": "a\nb"}]},
        {"news": [{"text": "\u202egnp.exe"}]},
        {"news": [{"text": "a", "url": "http://example.org"}]},
        {"news": [{"text": "a", "url": "javascript:alert(1)"}]},
        {"news": ["a"]},
        {"newest_version": 2},
        {"report_interval": "1"},
        {"relays": ["a"] * 9},
        {"relays": [1]},
        {"selector": []},
        {"selector": {"os": "linux"}},
        {"selector": {"os": ["l"] * 33}},
        {"selector": {str(n): [] for n in range(9)}},
    ],
)
def test_an_announcement_is_refused(change: dict[str, object]) -> None:
    for also in ({}, {"report_interval": 1}):  # MALFORMED takes precedence over other faults
        with pytest.raises(RefusedError) as caught:
            decode_announcement(encode({"time": 0, "expires": 1} | also | change))
        assert caught.value.code == Reason.MALFORMED


@given(st.text(st.characters(codec="utf-8"), max_size=70), st.integers(0, 70))
def test_a_text_is_measured_in_bytes(start: str, cut: int) -> None:
    said = start.encode()[:cut].decode(errors="ignore")
    fits = 1 <= len(said.encode()) <= WORD_MAX and BARRED.isdisjoint(said)
    for change in ({"newest_version": said}, {"selector": {said: []}}, {"selector": {"a": [said]}}):
        try:
            decode_announcement(encode({"time": 0, "expires": 1} | change))
        except RefusedError as error:
            assert (error.code, fits) == (Reason.MALFORMED, False)
        else:
            assert fits


@pytest.mark.shows("MARS-13")
def test_an_announcement_cannot_ask_for_reports_more_than_daily() -> None:
    with pytest.raises(RefusedError) as caught:
        decode_announcement(encode({"time": 0, "expires": 1, "report_interval": 86_399}))
    assert caught.value.code == Reason.OFF_SCHEMA


@pytest.mark.shows("MARS-4")
def test_a_selector_is_evaluated_by_the_reader() -> None:
    announcement = Announcement(0, 1, selector={"os": ("linux", "macos"), "version": ("1",)})
    assert announcement.concerns({"os": "linux", "version": "1", "lang": "de"})
    assert not announcement.concerns({"os": "linux", "version": "2"})
    assert not announcement.concerns({"os": "linux"})
    assert Announcement(0, 1).concerns({})


@pytest.mark.parametrize(
    "change",
    [{"catalog": bytes(31)}, {"time": -600}, {"count": 0}, {"one_in": 0}, {"sequence": ()}],
)
def test_a_report_that_decode_would_refuse_is_not_encoded(change: dict[str, Any]) -> None:
    report = Report(bytes(32), "t", 600, {"a": True})
    with pytest.raises(ValueError):
        encode_report(replace(report, **change))


def test_a_caller_that_changes_a_decoded_report_does_not_change_the_cache() -> None:
    payload = encode_report(Report(bytes(32), "t", 1_800_000_000, {"poisoned": False}))
    for _ in range(3):
        report = decode_report(payload)
        assert report.values == {"poisoned": False}
        cast("dict[str, object]", report.values)["poisoned"] = True


def test_a_cached_report_is_refused_if_its_time_is_not_in_shortest_form() -> None:
    payload = encode_report(Report(bytes(32), "t", 1_800_000_000, {"remembered": True}))
    decode_report(payload)
    short = payload[:7] + (60_000).to_bytes(4, "big") + payload[11:]
    with pytest.raises(RefusedError):
        decode_report(short)


def test_the_cache_of_reports_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "_contents", items._Contents())
    monkeypatch.setattr(items, "_CONTENTS_SIZE", 10 * 600)
    for n in range(50):
        decode_report(encode_report(Report(bytes(32), "t", 1_800_000_000, {"n": n})))
        assert len(items._contents) <= 10
    assert len(items._contents) > 0


def test_the_cache_keeps_equal_values_of_different_types_apart() -> None:
    for time in (1_800_000_000, 1_800_000_600):
        for value in (True, 1, "1"):
            report = Report(bytes(32), "t", time, {"a": value})
            assert decode_report(encode_report(report)) == report
            assert encode(value) in encode_report(report)
        counted = Report(bytes(32), "t", time, {"a": 1}, count=7, one_in=5)
        assert decode_report(encode_report(counted)) == counted
    with pytest.raises(ValueError, match="does not carry"):
        encode_report(Report(bytes(32), "t", 1_800_000_000, {"a": {1}}))
