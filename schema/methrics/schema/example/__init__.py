"""The catalog that ships with the package, and the published key that signs it.

Everyone has this key, so its signature proves nothing: use it only for demonstrations, tests and
first steps. `python -m methrics.schema.example` compiles the source again.
"""

from __future__ import annotations

from importlib.resources import files

from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source

_FILES = files(__name__)


def example_seed() -> bytes:
    """The published seed (32 bytes) of the example namespace."""
    return b"methrics published example seed!"


def example_source() -> str:
    """The TOML text that the example catalog is compiled from."""
    return _FILES.joinpath("example.toml").read_text(encoding="utf-8")


def example_bytes() -> bytes:
    """The signed catalog item."""
    return _FILES.joinpath("example.cbor").read_bytes()


def example_catalog() -> Catalog:
    """The example catalog: heartbeat, system, module, signin, retention and assistive."""
    return load(example_bytes(), verify=False)


def compile_example() -> bytes:
    """The bytes that `example_bytes` should return."""
    return sign(parse_source(example_source()), example_seed())
