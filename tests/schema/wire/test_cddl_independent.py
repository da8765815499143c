"""An independent CDDL library reads the CDDL of SPEC.md and agrees with the vectors."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import cbor2
import pytest

import vectors
from methrics.schema.wire.envelope import split

pytestmark = [pytest.mark.wire, pytest.mark.slow]

SPEC = Path(__file__).parents[3] / "schema" / "SPEC.md"
CDDL = "\n".join(re.findall(r"```cddl\n(.*?)```", SPEC.read_text("utf-8"), re.DOTALL))


def matches(strangers: Path, data: list[tuple[str, bytes]]) -> list[bool]:
    order = {"cddl": CDDL, "data": [(rule, raw.hex()) for rule, raw in data]}
    script = str(Path(__file__).with_name("cddl_peer.py"))
    done = subprocess.run(
        [str(strangers), script],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[bool] = json.loads(done.stdout)
    return found


def vector(name: str, key: str = "bytes") -> bytes:
    return vectors._bytes(json.loads((vectors.FOLDER / f"{name}.json").read_text())[key])


def test_accepted_vectors_match_the_cddl(strangers: Path) -> None:
    data = []
    for path in sorted(vectors.FOLDER.glob("ok-*.json")):
        if "bytes" in json.loads(path.read_text()):
            item = split(vector(path.stem))
            header = cbor2.loads(item.raw)[0]
            data += [(item.kind.name.lower(), item.payload), ("header", header)]
    data += [("bundle", vector(name, "bundle")) for name in ("ok-bundle", "ok-notice-record")]
    assert len(data) > 25
    assert matches(strangers, data) == [True] * len(data)


@pytest.mark.parametrize(
    "name",
    [
        "malformed-unknown-key",
        "malformed-time-missing",
        "malformed-one-in-default",
        "malformed-count-zero",
        "malformed-catalog-short",
        "malformed-time-negative",
        "malformed-time-huge",
        "malformed-encoding-float",
        "malformed-encoding-null",
        "malformed-encoding-integer-key",
        "malformed-values-array",
        "malformed-count-text",
        "malformed-sequence-empty",
        "malformed-sequence-step",
        "malformed-sequence-offset",
        "malformed-announcement-endless",
        "malformed-announcement-interval",
        "malformed-announcement-version-65",
        "malformed-announcement-news-501",
        "malformed-announcement-news-nine",
        "malformed-announcement-selector",
        "malformed-erasure-id",
        "malformed-erasure-day-huge",
        "malformed-record-array",
        "malformed-record-reason-201",
        "malformed-record-revoked-key",
        "malformed-record-revoked-257",
        "malformed-record-catalogs-33",
        "malformed-record-previous-5",
        "malformed-record-listed-missing",
        "malformed-record-issuers-9",
        "malformed-record-results",
        "off-schema-catalog-empty",
        "off-schema-catalog-free-text",
        "off-schema-catalog-array",
        "off-schema-catalog-unit-25",
        "off-schema-catalog-unit-empty",
        "off-schema-catalog-edge-flag",
        "off-schema-catalog-expires",
    ],
)
def test_vectors_that_break_a_shape_do_not_match_the_cddl(strangers: Path, name: str) -> None:
    item = split(vector(name))
    assert matches(strangers, [(item.kind.name.lower(), item.payload)]) == [False]


@pytest.mark.parametrize(
    "name",
    [
        "off-schema-negative-bucket",
        "off-schema-nested-value",
        "off-schema-values-bytes",
        "off-schema-values-large",
        "off-schema-number-for-flag",
        "off-schema-sequence-offset",
    ],
)
def test_reports_that_only_the_catalog_refuses_match_the_cddl(strangers: Path, name: str) -> None:
    assert matches(strangers, [("report", split(vector(name)).payload)]) == [True]


def test_requests_and_replies_match_the_cddl(strangers: Path) -> None:
    data = [
        ("records", vectors._bytes(json.loads(path.read_text())["expect"]["reply"]))
        for path in sorted((vectors.FOLDER / "requests").glob("record-*.json"))
    ]
    data += [
        (f"visit-{key}", vector(f"visits/{path.stem}", key))
        for key in ("request", "reply")
        for path in sorted((vectors.FOLDER / "visits").glob(f"ok-{key}-*.json"))
    ]
    assert len(data) > 15
    assert matches(strangers, data) == [True] * len(data)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("visit-request", "malformed-request-boxes-none"),
        ("visit-request", "malformed-request-box-alone"),
        ("visit-request", "malformed-request-box-short"),
        ("visit-request", "malformed-request-exit-short"),
        ("visit-request", "malformed-request-handle-short"),
        ("visit-request", "malformed-request-handles-31"),
        ("visit-request", "malformed-request-map"),
        ("visit-request", "oversize-request-handles-33"),
        ("visit-reply", "malformed-reply-again-flag"),
        ("visit-reply", "malformed-reply-again-negative"),
        ("visit-reply", "malformed-reply-answer-empty"),
        ("visit-reply", "malformed-reply-answer-short"),
        ("visit-reply", "malformed-reply-answers-31"),
        ("visit-reply", "malformed-reply-answers-missing"),
        ("visit-reply", "malformed-reply-time-negative"),
        ("visit-reply", "malformed-reply-time-late"),
        ("visit-reply", "malformed-reply-key"),
    ],
)
def test_broken_requests_and_replies_do_not_match_the_cddl(
    strangers: Path, rule: str, name: str
) -> None:
    raw = vector(f"visits/{name}", rule.partition("-")[2])
    assert matches(strangers, [(rule, raw)]) == [False]


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("one-catalog", "malformed-bundle-empty"),
        ("one-catalog", "malformed-bundle-head-short"),
        ("one-catalog", "malformed-bundle-head-text"),
        ("one-catalog", "ok-notice-record"),
        ("notice", "malformed-bundle-empty"),
        ("notice", "malformed-bundle-notice-empty"),
        ("notice", "malformed-bundle-head-short"),
        ("notice", "malformed-notice-two"),
        ("notice", "ok-bundle"),
    ],
)
def test_broken_bundles_do_not_match_the_cddl(strangers: Path, rule: str, name: str) -> None:
    """Each form for itself: the library is lenient about a choice of arrays."""
    assert matches(strangers, [(rule, vector(name, "bundle"))]) == [False]
