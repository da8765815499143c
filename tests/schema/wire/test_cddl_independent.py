"""The CDDL of SPEC.md is CDDL to others, and says of the vectors what the vectors say."""

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
    return bytes.fromhex(json.loads((vectors.FOLDER / f"{name}.json").read_text())[key])


def test_all_that_is_accepted_has_the_shapes_of_the_specification(strangers: Path) -> None:
    data = []
    for path in sorted(vectors.FOLDER.glob("ok-*.json")):
        if "bytes" in json.loads(path.read_text()):
            item = split(vector(path.stem))
            header = cbor2.loads(item.raw)[0]
            data += [(item.kind.name.lower(), item.payload), ("header", header)]
    data.append(("bundle", vector("ok-bundle", "bundle")))
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
        "off-schema-catalog-empty",
        "off-schema-catalog-free-text",
    ],
)
def test_what_breaks_a_shape_does_not_match_the_specification(strangers: Path, name: str) -> None:
    item = split(vector(name))
    assert matches(strangers, [(item.kind.name.lower(), item.payload)]) == [False]
