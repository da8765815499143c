"""A pytest plugin that reports which versions and platforms it runs on, if the person agrees."""

from __future__ import annotations

from pathlib import Path

CATALOG = Path(__file__).with_name("catalog.cbor")
"""What may be said: for `methrics catalog show` and `methrics consent grant`."""
