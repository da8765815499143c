"""The vectors, run by an implementation in JavaScript that was written from SPEC.md alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.interop.javascript import run

VECTORS = Path(__file__).parents[2] / "schema" / "vectors" / "v1"
PLACES = int(os.environ.get("INTEROP_PLACES", "32"))
"""How many bytes of a vector are changed, one at a time; a large number changes every byte."""


def expected(folder: Path) -> dict[str, Any]:
    """What the vectors of a folder expect, by name."""
    return {path.stem: json.loads(path.read_text())["expect"] for path in folder.glob("*.json")}


def test_javascript_gives_every_vector_its_verdict(program: Path) -> None:
    lines = run(program, "run.mjs", str(VECTORS))
    assert len(lines) > 150
    assert {line["name"]: line["verdict"] for line in lines} == expected(VECTORS)


def test_javascript_reads_and_answers_every_request_as_expected(program: Path) -> None:
    lines = run(program, "run.mjs", str(VECTORS), "requests")
    assert len(lines) > 30
    assert {line["name"]: line["verdict"] for line in lines} == expected(VECTORS / "requests")


def test_javascript_knows_the_same_records_whatever_their_order(program: Path) -> None:
    lines = run(program, "run.mjs", str(VECTORS), "records")
    right = expected(VECTORS / "records")
    assert len(lines) == 2 * len(right)
    assert [line for line in lines if line["verdict"] != right[line["name"]]] == []


def test_javascript_reads_the_same_manifests(program: Path) -> None:
    lines = run(program, "run.mjs", str(VECTORS), "manifests")
    assert len(lines) > 25
    assert {line["name"]: line["verdict"] for line in lines} == expected(VECTORS / "manifests")


def test_javascript_reads_the_same_descriptors(program: Path) -> None:
    lines = run(program, "run.mjs", str(VECTORS), "descriptors")
    assert len(lines) > 65
    assert {line["name"]: line["verdict"] for line in lines} == expected(VECTORS / "descriptors")


def test_javascript_reads_the_same_visits(program: Path) -> None:
    lines = run(program, "run.mjs", str(VECTORS), "visits")
    assert {line["name"] for line in lines} == expected(VECTORS / "visits").keys()
    assert [line for line in lines if not line["agrees"]] == []


def test_javascript_opens_and_seals_the_same_envelopes(program: Path) -> None:
    lines = run(program, "run.mjs", str(VECTORS), "envelopes")
    assert len(lines) > 55
    assert {line["name"]: line["verdict"] for line in lines} == expected(VECTORS / "envelopes")


@pytest.mark.shows("NEW-2")
def test_javascript_compares_sets_and_reads_requests_in_the_same_way(program: Path) -> None:
    lines = run(program, "run.mjs", str(VECTORS), "reconcile")
    assert len(lines) == len(list((VECTORS / "reconcile").glob("*.json"))) > 30
    assert [line for line in lines if not line["agrees"]] == []


def test_javascript_accepts_no_vector_with_one_byte_changed(program: Path) -> None:
    lines = run(program, "run.mjs", str(VECTORS), "flips", str(PLACES))
    assert len(lines) == len(list(VECTORS.glob("ok-*.json")))
    assert all(line["places"] for line in lines)
    assert [line for line in lines if line["accepted"]] == []
