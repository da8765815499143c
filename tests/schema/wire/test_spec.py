"""SPEC.md agrees with the code: codes, limits, kinds, words and worked bytes."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import cbor2
import pytest

import vectors
from methrics.schema.catalog import field_types, fields
from methrics.schema.catalog.event_type import KINDS, PSEUDONYMS
from methrics.schema.catalog.rules import CHARTS
from methrics.schema.judging.records import RECORDS_MAX
from methrics.schema.wire import limits, reading
from methrics.schema.wire.codec import DEPTH_MAX
from methrics.schema.wire.envelope import CONTENT_TYPE, DOMAIN, Kind, split
from methrics.schema.wire.reading import BARRED
from methrics.schema.wire.verdict import Decision, Reason

SPEC = (Path(__file__).parents[3] / "schema" / "SPEC.md").read_text("utf-8")
REPORT = json.loads((vectors.FOLDER / "ok-report.json").read_text())


WORKED = 11
"""The section of SPEC.md with the worked bytes."""


def section(number: int) -> str:
    return SPEC.split(f"\n## {number}. ")[1].split("\n## ")[0]


@pytest.mark.parametrize("reason", Reason)
def test_the_specification_has_each_reason_with_its_verdict(reason: Reason) -> None:
    assert f"\n| `{reason}` | {reason.decision.name} |" in section(8)


def test_the_specification_has_no_unknown_reasons() -> None:
    rows = re.findall(r"\n\| `([a-z-]+)` \| ([A-Z]+) \|", section(8))
    assert {Reason(name): Decision[verdict] for name, verdict in rows} == {
        reason: reason.decision for reason in Reason
    }


def test_the_order_of_checks_has_each_reason_that_the_bytes_alone_give() -> None:
    missing = {str(reason) for reason in Reason if f"`{reason}`" not in section(7)}
    # Section 4 gives the first two; the others depend on a node's store or on what it accepts.
    assert missing == {"ok", "empty", "erased", "retention", "quota"}


@pytest.mark.parametrize(
    "value",
    [
        limits.REPORT_MAX,
        limits.NOTICE_MAX,
        limits.RECORD_MAX,
        limits.CATALOG_MAX,
        limits.BUNDLE_MAX,
        limits.BUNDLE_ITEMS_MAX,
    ],
)
def test_the_specification_has_each_size_limit_in_its_table(value: int) -> None:
    assert f"{value:,}" in section(1)


def test_the_specification_has_the_other_limits() -> None:
    assert f"nested at most {DEPTH_MAX} deep" in section(1)
    assert f"seconds = 0 .. {limits.TIME_MAX} " in section(3)
    assert f"multiples of {limits.TIME_STEP}" in section(3)
    assert f"more than {limits.EARLY_MAX} s ahead" in section(7)
    assert f"text64 = tstr .size (1 .. {limits.WORD_MAX})" in section(3)
    assert f'"day" => 0 .. {limits.TIME_MAX // limits.DAY} ' in section(3)
    assert f'"previous" => [0*{limits.RECORD_PREVIOUS_MAX} id]' in section(3)
    assert f'"catalogs" => [0*{limits.LISTED_MAX} listing]' in section(3)
    assert f'"revoked" => {{0*{limits.REVOKED_MAX} tstr' in section(3)
    assert f'"issuers" => [0*{limits.ISSUERS_MAX} bstr' in section(3)
    assert f"[id, 1*{limits.BUNDLE_ITEMS_MAX} bstr]" in section(5)
    assert f"{RECORDS_MAX} records of a key" in section(12)
    assert f"text200 = tstr .size (1 .. {limits.REASON_MAX})" in section(3)
    assert f"text500 = tstr .size (1 .. {limits.NEWS_TEXT_MAX})" in section(3)
    assert f"[0*{limits.ANNOUNCED_MAX} text200]" in section(3)
    assert f'[0*{limits.ANNOUNCED_MAX} {{ "text"' in section(3)
    assert f"{{0*{limits.ANNOUNCED_MAX} tstr => [0*{limits.SELECTED_MAX} text64]}}" in section(3)
    assert f"at least {limits.DAY}" in section(3)
    types = section(4)
    for bound in (
        f"1*{limits.TYPES_MAX} tstr",
        f"0*{fields.FIELDS_MAX} field",
        f"1 .. {limits.RETENTION_MAX}",
        f"0 .. {limits.ENTROPY_MAX}",
        f"0 .. {limits.WORK_MAX}",
        f"{limits.PERIOD_MAX:,} s are 366 days",
        f"{limits.DELAY_MIN} .. {limits.PERIOD_MAX}",
        f"[{limits.EVERY_MIN} .. {limits.PERIOD_MAX}",
        f"1*{limits.STEPS_MAX} name",
        f"line24 = tstr .size (1 .. {field_types.UNIT_MAX})",
        f"from -{field_types.EDGE_LIMIT} to {field_types.EDGE_LIMIT} ",
        f"line200 = tstr .size (1 .. {limits.CONTACT_MAX})",
        f"line240 = tstr .size (1 .. {limits.QUESTION_MAX})",
        f"line480 = tstr .size (1 .. {limits.WHY_MAX})",
    ):
        assert bound in types, bound


def test_the_specification_has_each_word_of_a_catalog() -> None:
    words = [*KINDS, *PSEUDONYMS, *fields.FIELD_TYPES, *fields.SOURCES]
    assert [word for word in words if f'"{word}"' not in section(4)] == []
    assert [chart for chart in CHARTS if chart not in section(4)] == []
    assert [
        name for name in fields.RESERVED_NAMES if not re.search(rf"\b{name}\b", section(4))
    ] == []


def test_the_specification_has_each_rule_of_a_catalog_with_its_code() -> None:
    codes = {value for value in vars(reading).values() if re.fullmatch(r"M0\d\d", str(value))}
    assert {code for code in codes if code not in section(4)} == set()


def test_the_barred_characters_are_those_of_the_code() -> None:
    text = re.search(r"none of U\+([0-9A-F, -]+)", section(3).replace("\n  ", " "))
    assert text is not None
    assert characters(text[1]) == set(BARRED)


def characters(ranges: str) -> set[str]:
    found: set[str] = set()
    for part in ranges.split(","):
        first, _, last = part.strip().partition("-")
        found |= {chr(n) for n in range(int(first, 16), int(last or first, 16) + 1)}
    return found


def test_the_specification_has_each_kind_with_its_content_type() -> None:
    types = " / ".join(str(CONTENT_TYPE + kind) for kind in Kind)
    assert f"content-type = {types}" in section(2)
    assert " | ".join(kind.name.lower() for kind in Kind) in section(2)
    assert f"'{DOMAIN.decode()}'" in section(2)


def test_the_worked_bytes_are_those_of_the_vector() -> None:
    blocks = worked_blocks()
    item = split(bytes.fromhex(blocks[0]))
    assert item.raw.hex() == REPORT["bytes"]
    assert blocks[2] == item.id.hex() == REPORT["expect"]["id"]
    assert f"a report of {len(item.raw)} bytes" in section(WORKED)
    assert f"58 {len(item.payload):02x} a4" in section(WORKED)
    assert f"payload of {len(item.payload)} bytes" in section(WORKED)
    for piece in ("84 6a 5369676e617475726531", "58 2a", "4a 6d657468726963732f31"):
        assert piece in section(WORKED)
        assert bytes.fromhex(piece) in item.signed


def test_the_worked_request_is_that_of_the_vector() -> None:
    path = vectors.FOLDER / "envelopes" / "box-ok-report.json"
    box = json.loads(path.read_text())["box"]
    body = f"8159{len(box) // 2:04x}{box}"
    *_, shown = worked_blocks()
    start = shown.removesuffix("...")
    assert f"{len(body) // 2:08x}{body}".startswith(start)
    assert len(start) > 200
    assert f"a frame of {len(body) // 2:,} bytes" in section(WORKED)
    assert f"a byte string of {len(box) // 2:,} bytes" in section(WORKED)


def worked_blocks() -> list[str]:
    found = re.findall(r"```text\n(.*?)```", section(WORKED), re.S)
    return [re.sub(r"\s", "", block) for block in found]


@pytest.mark.parametrize("name", vectors.LISTS)
def test_the_lists_of_codes_have_the_size_and_digest_that_are_given(name: str) -> None:
    text = (vectors.FOLDER.parent / name).read_bytes()
    row = re.search(rf"\| \[`{name}`\].*\| (\d+) \| `([0-9a-f]+)` \|", section(4))
    assert row is not None
    assert row.groups() == (str(text.count(b"\n")), sha256(text).hexdigest())
    assert text.decode().split() == sorted(vectors.LISTS[name])


def test_the_rule_of_the_largest_report_is_that_of_the_code() -> None:
    """The vectors show that a report of 1,024 bytes fits and one of 1,025 bytes does not."""
    assert f"has at most {limits.REPORT_MAX:,} bytes" in section(4)
    assert f"report {limits.ENVELOPE_SIZE} + head" in section(4)
    assert f"and {limits.STAMP_SIZE} more if `work`" in section(4)


def test_the_characters_that_make_a_blank_line_are_those_of_the_code() -> None:
    text = re.search(r"none but U\+([0-9A-F, -]+)", section(4))
    assert text is not None
    assert characters(text[1]) == set(reading.BLANK)


def test_the_diagnostic_notation_agrees_with_the_bytes() -> None:
    item = split(bytes.fromhex(REPORT["bytes"]))
    body = cbor2.loads(item.payload)
    notation = section(WORKED)
    assert f"{{ 1: -8, 3: 65001, 4: h'{item.key.hex()}' }}" in notation
    assert f'"time": {body["time"]}' in notation
    assert f'"type": "{body["type"]}"' in notation
    assert f'"values": {json.dumps(body["values"])[1:-1]}'.replace(": ", ": { ", 1) in notation
    assert f"h'{body['catalog'].hex()}'" in notation
    assert f"h'{item.signature.hex()}'" in notation
