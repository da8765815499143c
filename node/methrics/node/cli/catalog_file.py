"""Loads signed catalogs that a person chose on the command line, by a file or an app's name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from methrics.node.cli.naming import resolve_apps
from methrics.node.consent.apps import known_catalogs
from methrics.node.paths import Paths, namespace_of
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.errors import CatalogError
from methrics.schema.wire.limits import CATALOG_MAX

HINT = "give the file that `methrics catalog sign` wrote"


def load_catalog(path: Path) -> Catalog:
    """Returns the catalog in the file `path`. Does not read more bytes than a catalog can have.

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
    try:
        return load(raw)
    except CatalogError as error:
        raise CatalogError(error.code, f"{path}: {error.message}", error.hint) from error


def chosen_catalogs(
    paths: Paths, apps: Sequence[str], files: Iterable[Path], *, whole: bool = False
) -> list[Catalog]:
    """The catalogs in `files`, and those of `apps` among the apps found on this machine; without
    either, all that are found. `whole` as for `naming.matches`. Raises CatalogError,
    WrongNameError."""
    chosen = [load_catalog(file) for file in files]
    if chosen and not apps:
        return chosen
    found = {namespace_of(one.label, one.short_key): one for one in known_catalogs(paths)}
    if not apps:
        return list(found.values())
    return chosen + [found[name] for name in resolve_apps(apps, found, whole=whole)]
