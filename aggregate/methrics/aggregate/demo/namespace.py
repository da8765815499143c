"""Makes the demo app's namespace: a new key, a catalog derived from the example's, its record."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from methrics.node.cli.keyfile import make_key
from methrics.node.cli.record_file import write_record
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_source
from methrics.schema.wire.record import sign_record

LABEL = "demo"

_LABEL = re.compile(r'^label = "example"$', re.MULTILINE)
_PACE = re.compile(r"(?<=^\[types\.heartbeat\.release\]\n).*?(?=^\[)", re.MULTILINE | re.DOTALL)


def demo_source() -> str:
    """Return the example catalog's TOML with the demo's label.

    Its heartbeat is reported on every day of use, so that a few days are enough for figures.
    """
    text, labels = _LABEL.subn(f'label = "{LABEL}"', example_source())
    text, paces = _PACE.subn("delay = 300\nevery = [86400, 86400]\njitter = 0\n\n", text)
    assert (labels, paces) == (1, 1), "the example catalog no longer holds what the demo changes"
    return text


class Namespace(NamedTuple):
    """The files of the demo's namespace, and its catalog."""

    signed: Path
    record: Path
    catalog: Catalog


def make_namespace(folder: Path, *, since: int, until: int) -> Namespace:
    """Write `namespace.key`, `demo.toml`, `demo.cbor` and `demo.record` into `folder`. The record
    lists the catalog from `since` and is valid until `until` (Unix seconds).

    Raises LocalError if a file cannot be written.
    """
    seed = make_key(folder / "namespace.key")
    text = demo_source()
    (folder / "demo.toml").write_text(text, "utf-8")
    signed = folder / "demo.cbor"
    signed.write_bytes(sign(parse_source(text), seed))
    catalog = load(signed.read_bytes())
    record = folder / "demo.record"
    write_record(record, sign_record([catalog.id], seed, time=since, expires=until).raw)
    return Namespace(signed, record, catalog)
