"""The vectors, judged by an implementation in JavaScript that was written from SPEC.md alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.interop.javascript import run

VECTORS = Path(__file__).parents[2] / "schema" / "vectors" / "v1"
PLACES = int(os.environ.get("INTEROP_PLACES", "128"))
"""How many bytes of each vector are changed, one at a time; a large number changes every byte."""


def test_javascript_gives_every_vector_its_verdict(program: Path) -> None:
    lines = run(program, "run.mjs", str(VECTORS))
    expected = {
        path.stem: json.loads(path.read_text())["expect"] for path in VECTORS.glob("*.json")
    }
    assert {line["name"]: line["verdict"] for line in lines} == expected
    assert len(expected) >= 152


def test_javascript_accepts_no_vector_with_one_byte_changed(program: Path) -> None:
    lines = run(program, "run.mjs", str(VECTORS), "flips", str(PLACES))
    assert len(lines) == len(list(VECTORS.glob("*.json")))
    assert [line for line in lines if line["accepted"]] == []
    assert all(line["places"] for line in lines if line["name"] != "malformed-envelope-empty")
