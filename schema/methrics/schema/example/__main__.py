"""Compile the example catalog again: writes example.cbor beside its source."""

from __future__ import annotations

from pathlib import Path

from methrics.schema.example import compile_example

Path(__file__).with_name("example.cbor").write_bytes(compile_example())
