"""Makes the demo app's namespace: a new key, and a catalog derived from the example's."""

from __future__ import annotations

import re
from pathlib import Path

from methrics.node.cli.keyfile import make_key
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_source

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


def make_namespace(folder: Path) -> tuple[Path, Catalog]:
    """Write `namespace.key`, `demo.toml` and `demo.cbor` into `folder`.

    Returns the path of the signed catalog, and the catalog. Raises LocalError if a file cannot be
    written.
    """
    seed = make_key(folder / "namespace.key")
    text = demo_source()
    (folder / "demo.toml").write_text(text, "utf-8")
    signed = folder / "demo.cbor"
    signed.write_bytes(sign(parse_source(text), seed))
    return signed, load(signed.read_bytes())
