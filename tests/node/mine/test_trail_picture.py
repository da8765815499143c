"""The trail as text and as picture: complete, self-contained, and safe with hostile data."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from trail_making import DAY, NAMESPACE, START, Listed, beat, own_of, report

from methrics.node.mine.trail.gather import Gathered, WithheldRow
from methrics.node.mine.trail.picture import page, style
from methrics.node.mine.trail.text import lines, names_of, percent
from methrics.node.mine.trail.traces import Trace
from methrics.node.mine.trail.whole import Trail, to_json, trace

HOSTILE = "<script>alert(1)</script>\"'&"


def trail(**changes: object) -> Trail:
    own = own_of(
        *(report(beat("freebsd"), START + i * 108_000) for i in range(3)),
        report({"version": "1.2", "os": "freebsd"}, START, "system"),
        report({"version": "1.2", "variant": "a"}, START + DAY, "signin"),
    )
    withheld = WithheldRow(
        namespace=NAMESPACE,
        event_type=own[0].event_type,
        time=START,
        parts=own[0].parts,
        reason=f"because {HOSTILE}",
    )
    crowd = Listed(
        *[("heartbeat", START, beat(monthly=True))] * 200,
        *[("heartbeat", START, beat("freebsd"))] * 3,
        *[("system", START, {"version": "1.2", "os": "linux"})] * 30,
    )
    options = {
        "others": crowd,
        "traces": [Trace(time=START + 60, label=HOSTILE)],
        "source": f"all{HOSTILE}.duckdb",
        "threshold": 5,
        "remembered": {NAMESPACE: (HOSTILE, START)},
        **changes,
    }
    return trace(Gathered(own, [withheld]), **options)  # type: ignore[arg-type]


class Checker(HTMLParser):
    """Checks that every tag is closed, and that the page fetches and runs nothing."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert name not in ("src", "href", "xlink:href", "onload", "onclick"), (tag, name)
            if name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"others": None},
        {"traces": None, "threshold": 0},
        {"others": Listed()},
        {"others": None, "traces": None},
    ],
    ids=["all", "no data", "no traces", "nobody else", "own alone"],
)
def test_the_picture_is_one_file_that_fetches_and_runs_nothing(changes: dict[str, object]) -> None:
    text = page(trail(**changes), made=START)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert not {"script", "img", "link", "iframe", "object"} & set(checker.seen)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "<script" not in text


def test_the_picture_can_be_read_without_eyes() -> None:
    text = page(trail(), made=START)
    assert '<html lang="en">' in text
    assert 'role="img" aria-labelledby="line-t line-d"' in text
    assert "5 reports from 2026-08-30 00:00" in text
    for one in re.findall(r"<svg[^>]*>", text):
        assert "role=" in one or "aria-hidden" in one
    for section in re.findall(r'<section aria-labelledby="([^"]+)"', text):
        assert f'<h2 id="{section}">' in text


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_all_text_has_contrast_in_both_themes() -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    themes = re.findall(r":root \{(.*?)\}", style(), re.DOTALL)[:2]
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", theme))
        for ink in ("ink", "soft", "alone", "few", "group", "crowd", "link"):
            for ground in ("paper", "card"):
                light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])))[::-1]
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_the_text_tells_it_all() -> None:
    told = "\n".join(lines(trail()))
    assert "5 left this machine, 0 did not" in told
    assert "heartbeat 0: of 2026-08-30 00:00 UTC, made 2026-08-30 00:15; left by relay" in told
    assert "all parts: 4 of 204 reports; nearly stands out" in told
    assert "os freebsd: 1 of 31 reports; stands out" in told
    assert "withheld" in told
    assert "at least 5 others must report the same" in told


def test_text_without_anything_still_says_what_to_do() -> None:
    told = "\n".join(lines(trace(Gathered())))
    assert "No report was made on this machine yet." in told
    assert "methrics threshold set 20" in told


def test_json_holds_numbers_that_any_reader_takes() -> None:
    text = json.dumps(to_json(trail()), allow_nan=False)
    document = json.loads(text)
    (system,) = [one for one in document["statements"] if one["type"] == "system"]
    assert system["whole"]["others"] == 0
    assert system["whole"]["bits_most"] is None
    assert system["values"] == {"version": "1.2", "os": "freebsd"}
    assert {one["way"] for one in document["joined"]} >= {"follows", "same-values", "across-types"}
    assert [one["label"] for one in document["labels"]] == [HOSTILE]


def test_many_reports_are_named_in_short() -> None:
    own = own_of(*(report(beat(), START + i * DAY) for i in range(9)))
    assert names_of(own) == "heartbeat 0, 1, 2, 3, 4, 5 and 3 more"
    assert [percent(share) for share in (1.0, 0.999, 0.5, 0.001)] == [
        "no other fits",
        "99 %",
        "50 %",
        "1 %",
    ]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "' onload='x", '"><svg onload=x>', "{{ 7 * 7 }}&lt;b&gt;"]
)
def test_attack_no_label_changes_the_tags_of_the_picture(text: str) -> None:
    def tags(words: str) -> list[str]:
        checker = Checker()
        traces = [Trace(time=START + 60, label=words)]
        checker.feed(page(trail(traces=traces, source=words), made=START))
        return checker.seen

    assert tags(text) == tags("harmless")
    assert text not in page(
        trail(traces=[Trace(time=START + 60, label=text)], source=text), made=START
    )
