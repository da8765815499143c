"""Test vectors of the wire rules: one scenario per file, for implementations in any language.

    python tools/vectors.py --write     write schema/vectors again
    python tools/vectors.py --check     fail if the files are out of date

All values derive from fixed seeds, so the same code always makes the same bytes. The format of
a file is described in schema/vectors/README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from vector_bundles import bundles
from vector_bytes import encoding, envelope, signature
from vector_catalogs import catalogs
from vector_content import accepted, circumstance, content
from vector_descriptors import descriptors
from vector_envelopes import envelopes
from vector_histories import histories
from vector_manifests import manifests
from vector_permitted import permitted, permitted_catalogs
from vector_points import points
from vector_reconcile import reconcile
from vector_records import records
from vector_requests import requests
from vector_visits import visits
from vector_world import NOW, Scenario, World

from methrics.schema.catalog.catalog import load
from methrics.schema.catalog.regions import COUNTRIES, LANGUAGES
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, judge_bundle, learn
from methrics.schema.judging.judge import Accepted, Verdict, judge
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.envelope import split

CATALOGS = {"ok-catalog": World().catalog, "ok-catalog-other": World().other_catalog}
"""The catalogs that a scenario starts with are in the vector of that name."""

RECORDS = {name: raw for name, (_, raw) in World().records().items()}
"""The records that a scenario starts with are in the vector of that name."""

FOLDER = Path(__file__).resolve().parent.parent / "schema" / "vectors" / "v1"

LISTS = {"countries.txt": COUNTRIES, "languages.txt": LANGUAGES}
"""The closed lists of codes for fields, as files beside the vectors."""

Files = dict[str, dict[str, object]]
"""Name to content, without `.json`."""


def run(scenario: dict[str, object]) -> Verdict | BundleVerdict:
    """The verdict of this implementation on a vector (bytes in hex, as in the file)."""
    book, seen = CatalogBook(), Seen()
    for name in scenario["records"]:  # type: ignore[attr-defined]
        verdict = judge(RECORDS[name], book, 0, live=False)
        assert isinstance(verdict, Accepted)
        learn(verdict, book)
    for name in scenario["catalogs"]:  # type: ignore[attr-defined]
        book.add(load(CATALOGS[name]), given=True)
    for raw in scenario["seen"]:  # type: ignore[attr-defined]
        seen.add(split(_bytes(raw)))
    now, live, topic = scenario["now"], scenario["live"], scenario["topic"]
    if "bundle" in scenario:
        data = _bytes(scenario["bundle"])
        return judge_bundle(data, book, now, seen, live=live, topic=topic)  # type: ignore[arg-type]
    data = _bytes(scenario["bytes"])
    return judge(data, book, now, live=live, topic=topic)  # type: ignore[arg-type]


def expected(verdict: Verdict | BundleVerdict) -> dict[str, object]:
    """The expected verdict in a file."""
    result: dict[str, object] = {"decision": verdict.decision.name, "reason": str(verdict.reason)}
    if isinstance(verdict, BundleVerdict):
        result["accepted"] = [found.item.id.hex() for found in verdict.accepted]
        result["refused"] = [str(refusal.reason) for refusal in verdict.refused]
        result["waits"] = _wait(verdict)
    elif verdict.item is not None:
        result |= {"id": verdict.item.id.hex(), "key": verdict.item.key.hex()}
    return result


def _wait(verdict: BundleVerdict) -> str | None:
    """What a bundle waits for: a catalog id in hex, or `record:` and a short key."""
    wait = verdict.waits_for
    if wait is None or wait == verdict.about:
        return None if wait is None else wait.hex()
    return wait.decode()


def build() -> Files:
    """All files of items and bundles: name to content."""
    world, files = World(), {}
    groups: tuple[Callable[[World], Iterator[Scenario]], ...] = (
        accepted,
        encoding,
        envelope,
        signature,
        points,
        content,
        catalogs,
        circumstance,
        records,
        bundles,
        permitted,
        permitted_catalogs,
    )
    defaults: dict[str, object] = {
        "now": NOW,
        "live": True,
        "topic": None,
        "catalogs": ["ok-catalog"],
        "records": ["ok-record"],
        "seen": [],
    }
    for group in groups:
        # Catalogs are read from a file, so that no record has to list each of them.
        own = {"live": False} if group in (catalogs, permitted_catalogs) else {}
        for name, says, given in group(world):
            scenario = {key: _hex(value) for key, value in (defaults | own | given).items()}
            result = expected(run(scenario))
            if name in files or not name.startswith(f"{result['reason']}-"):
                raise ValueError(f"{name} is a duplicate, or its reason is {result['reason']}")
            files[name] = {"says": says, **scenario, "expect": result}
    return files


def build_requests() -> Files:
    """All files of the folder `requests`: name to content."""
    files: Files = {}
    for name, says, given in requests(World()):
        if name in files:
            raise ValueError(f"{name} is a duplicate")
        files[name] = {"says": says, **{key: _hex(value) for key, value in given.items()}}
    return files


def build_histories() -> Files:
    """All files of the folder `records`: name to content."""
    return {
        name: {"says": says, **{key: _hex(value) for key, value in given.items()}}
        for name, says, given in histories(World())
    }


def build_manifests() -> Files:
    """All files of the folder `manifests`: name to content."""
    return _by_result(manifests(World()))


def build_descriptors() -> Files:
    """All files of the folder `descriptors`: name to content."""
    return _by_result(descriptors(World()))


def build_visits() -> Files:
    """All files of the folder `visits`: name to content."""
    return _by_result(visits())


def _by_result(scenarios: Iterator[Scenario]) -> Files:
    """Files whose names start with their result."""
    files: Files = {}
    for name, says, given in scenarios:
        found = {key: value if value is None else _hex(value) for key, value in given.items()}
        if name in files or not name.startswith(f"{found['expect']['result']}-"):  # type: ignore[index]
            raise ValueError(f"{name} is a duplicate, or has another result")
        files[name] = {"says": says, **found}
    return files


def build_reconcile() -> Files:
    """All files of the folder `reconcile`: name to content."""
    return {
        name: {"says": says, **{key: _hex(value) for key, value in given.items()}}
        for name, says, given in reconcile()
    }


def build_envelopes() -> Files:
    """All files of the folder `envelopes`: name to content."""
    files: Files = {}
    for name, says, given in envelopes(World()):
        found = {key: _hex(value) for key, value in given.items()}
        right = name.split("-")[1] == "ok"
        if name in files or right != (found["expect"]["result"] == "ok"):  # type: ignore[index]
            raise ValueError(f"{name} is a duplicate, or has another result")
        files[name] = {"says": says, **found}
    return files


def build_lists() -> dict[str, str]:
    """The files of codes: name to text."""
    return {name: "".join(f"{code}\n" for code in sorted(codes)) for name, codes in LISTS.items()}


def _hex(value: object) -> object:
    if isinstance(value, bytes):
        start = value.rstrip(b"\x00")
        zeros = ["00", len(value) - len(start)]
        if len(value) <= 65_536 or len(start) > 256:
            return value.hex()
        return [start.hex(), 1, *zeros] if start else zeros
    if isinstance(value, dict):
        return {key: _hex(item) for key, item in value.items()}
    return [_hex(item) for item in value] if isinstance(value, list) else value


def _bytes(value: object) -> bytes:
    """Bytes as written in a file: hex digits, or [hex digits, repeat count, hex digits, ...]."""
    if isinstance(value, list):
        pairs = zip(value[::2], value[1::2], strict=True)
        return b"".join(bytes.fromhex(digits) * int(often) for digits, often in pairs)
    return bytes.fromhex(str(value))


def _text(file: dict[str, object]) -> str:
    return json.dumps(file, indent=1) + "\n"


def main() -> int:
    """Writes or compares the files. Exit code 1 if they differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write the files")
    action.add_argument("--check", action="store_true", help="fail if the files differ")
    write = parser.parse_args().write
    made = {f"v1/{name}.json": _text(file) for name, file in build().items()}
    made |= {f"v1/requests/{name}.json": _text(file) for name, file in build_requests().items()}
    made |= {f"v1/records/{name}.json": _text(file) for name, file in build_histories().items()}
    made |= {f"v1/manifests/{name}.json": _text(file) for name, file in build_manifests().items()}
    found = build_descriptors()
    made |= {f"v1/descriptors/{name}.json": _text(file) for name, file in found.items()}
    made |= {f"v1/visits/{name}.json": _text(file) for name, file in build_visits().items()}
    made |= {f"v1/reconcile/{name}.json": _text(file) for name, file in build_reconcile().items()}
    made |= {f"v1/envelopes/{name}.json": _text(file) for name, file in build_envelopes().items()}
    made |= build_lists()
    top = FOLDER.parent
    paths = [*FOLDER.rglob("*.json"), *top.glob("*.txt")]
    known = {path.relative_to(top).as_posix(): path.read_text() for path in paths}
    if write:
        for name in made:
            (top / name).parent.mkdir(parents=True, exist_ok=True)
        for name in known.keys() - made.keys():
            (top / name).unlink()
        for name, text in made.items():
            (top / name).write_text(text)
    stale = sorted(name for name in made.keys() | known.keys() if made.get(name) != known.get(name))
    verb = "written" if write else "differ"
    sys.stdout.write(f"{len(made)} files, {len(stale)} {verb}: {', '.join(stale) or 'none'}\n")
    return 0 if write else int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
