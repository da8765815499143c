"""Random items and bundles, valid and damaged: JavaScript and Python have to agree on each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import cbor2
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from tests.interop.javascript import run
from tests.interop.scenarios import CATALOG, WORK_MAX, Generator, Namespace
from tests.interop.signatures import by_hand, header
from tests.schema.declarations import catalog_maps

from methrics.schema.catalog.catalog import load
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.judge import judge
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.envelope import split
from methrics.schema.wire.record import decode_record

ROUNDS = int(os.environ.get("INTEROP_ROUNDS", "600"))
"""How many scenarios are compared; `INTEROP_ROUNDS=100000` for a long run."""
SEED = int(os.environ.get("INTEROP_SEED", "1"))
PER_CATALOG = 40


def catalogs(number: int) -> list[dict[str, Any]]:
    """So many payloads of catalogs that fulfil all rules."""
    found: list[dict[str, Any]] = []

    @seed(SEED)
    @settings(
        max_examples=number,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        found.append(data.draw(catalog_maps()))

    draw()
    return found


def namespace(rng: Random, content: dict[str, Any]) -> Namespace:
    """The content signed by a new key, with work stamps that a test can afford."""
    for declared in content["types"].values():
        declared["work"] = rng.choice([0, 0, 0, min(declared["work"], WORK_MAX)])
    key_seed = rng.randbytes(32)
    key = bytes(SigningKey(key_seed).verify_key)
    raw = by_hand(header(CATALOG, key), cbor2.dumps(content, canonical=True), key_seed)
    catalog = load(raw)
    return Namespace(seed=key_seed, content=content, raw=raw, id=catalog.id, topic=catalog.topic)


def ours(scenario: dict[str, Any]) -> dict[str, Any]:
    """Python's verdict, in the words of a vector's `expect`."""
    book, seen = CatalogBook(), Seen()
    for raw in scenario["records"]:
        item = split(bytes.fromhex(raw))
        book.records.add(item, decode_record(item.payload))
    for raw in scenario["catalogs"]:
        book.add(load(bytes.fromhex(raw)), given=True)
    for raw in scenario["seen"]:
        seen.add(split(bytes.fromhex(raw)))
    now, heard = scenario["now"], {"live": scenario["live"], "topic": scenario["topic"]}
    if "bundle" in scenario:
        whole = judge_bundle(bytes.fromhex(scenario["bundle"]), book, now, seen, **heard)
        kept = [one.item.id.hex() for one in whole.accepted]
        refused = [one.reason.value for one in whole.refused]
        wait = whole.waits_for
        if wait is not None:
            wait = wait.hex() if wait == whole.about else wait.decode()
        return {
            "decision": whole.decision.name,
            "reason": whole.reason.value,
            "accepted": kept,
            "refused": refused,
            "waits": wait,
        }
    verdict = judge(bytes.fromhex(scenario["bytes"]), book, now, **heard)
    named = (
        {} if verdict.item is None else {"id": verdict.item.id.hex(), "key": verdict.item.key.hex()}
    )
    return {"decision": verdict.decision.name, "reason": verdict.reason.value, **named}


def test_javascript_and_python_agree_on_random_items_and_bundles(program: Path) -> None:
    rng = Random(SEED)
    scenarios: list[dict[str, Any]] = []
    for content in catalogs(max(2, ROUNDS // PER_CATALOG)):
        pair = [namespace(rng, content), namespace(rng, content)]
        scenarios += [Generator(rng, pair).scenario() for _ in range(PER_CATALOG)]
    theirs = run(program, "judge-lines.mjs", lines=scenarios)
    assert len(theirs) == len(scenarios)
    for scenario, found in zip(scenarios, theirs, strict=True):
        assert found == ours(scenario), json.dumps(scenario)
    reasons = {verdict["reason"] for verdict in theirs}
    assert {"ok", "malformed", "off-schema", "forged", "bad-key", "unlisted"} <= reasons
