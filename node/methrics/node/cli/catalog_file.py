"""A signed catalog out of a file that a person named on the command line."""

from __future__ import annotations

from pathlib import Path

from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.errors import CatalogError
from methrics.schema.wire.limits import CATALOG_MAX

HINT = "give the file that `methrics catalog sign` wrote"


def load_catalog(path: Path) -> Catalog:
    """The catalog in the file `path`, of which no more is read than a catalog can have.

    Raises CatalogError: catalog-unreadable, catalog-too-large, and those of `catalog.load`.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(CATALOG_MAX + 1)
    except OSError as error:
        raise CatalogError(
            "catalog-unreadable", f"cannot read {path}: {error.strerror}", HINT
        ) from error
    if len(raw) > CATALOG_MAX:
        raise CatalogError("catalog-too-large", f"{path} is larger than {CATALOG_MAX} bytes", HINT)
    return load(raw)
