"""A pytest plugin that reports which versions and platforms it runs on, if the person agrees."""

from __future__ import annotations

from pathlib import Path

CATALOG = Path(__file__).with_name("catalog.cbor")
"""The path of the catalog, for `methrics catalog show` and `methrics consent grant`."""
