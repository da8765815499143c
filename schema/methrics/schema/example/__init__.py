"""The catalog that ships with the package, and the published key that signs it.

Everyone has this key, so its signature proves nothing: use it only for demonstrations, tests and
first steps. `python -m methrics.schema.example` compiles the source again.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source

_FILES = files(__name__)


def example_seed() -> bytes:
    """Return the published seed (32 bytes) of the example namespace."""
    return b"methrics published example seed!"


def example_source() -> str:
    """Return the TOML text that the example catalog is compiled from."""
    return _FILES.joinpath("example.toml").read_text(encoding="utf-8")


@lru_cache(1)
def example_bytes() -> bytes:
    """Return the bytes of the signed example catalog. The file is read once, so that a process
    without free file descriptors can still open a recorder for it."""
    return _FILES.joinpath("example.cbor").read_bytes()


def example_catalog() -> Catalog:
    """Load the example catalog, whose event types an app may copy."""
    return load(example_bytes(), verify=False)


def compile_example() -> bytes:
    """Sign the example source again: the result should equal `example_bytes`."""
    return sign(parse_source(example_source()), example_seed())
