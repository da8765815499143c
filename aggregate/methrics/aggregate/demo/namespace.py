"""The demo's own namespace: a key made for this run, and a catalog derived from the example's."""

from __future__ import annotations

from pathlib import Path

from methrics.node.keyfile import make_key
from methrics.schema.catalog import Catalog, load, sign
from methrics.schema.catalogs import example_source
from methrics.schema.source import parse_source

LABEL = "demo"

_CHANGES = (
    ('label = "example"', f'label = "{LABEL}"'),
    # One heartbeat a day instead of one in 3 to 10 days: three days should have something to show.
    ("every = [259200, 864000]\njitter = 259200", "every = [86400, 86400]\njitter = 0"),
)


def demo_source() -> str:
    """The example catalog's TOML with the demo's label and a daily heartbeat."""
    text = example_source()
    for before, after in _CHANGES:
        assert before in text, "the example catalog no longer holds what the demo changes in it"
        text = text.replace(before, after, 1)
    return text


def make_namespace(folder: Path) -> tuple[Path, Catalog]:
    """Make `namespace.key`, `demo.toml` and `demo.cbor` in `folder`; the signed file's path and
    the catalog. Raises LocalError if one cannot be written."""
    seed = make_key(folder / "namespace.key")
    text = demo_source()
    (folder / "demo.toml").write_text(text, "utf-8")
    signed = folder / "demo.cbor"
    signed.write_bytes(sign(parse_source(text), seed))
    return signed, load(signed.read_bytes())
