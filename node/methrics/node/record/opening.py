"""`methrics.node.open`: opens a recorder for an app's catalog, and never makes the app fail."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from methrics.node.clock import Clock, Rng
from methrics.node.paths import POLICY_FILE, user_paths
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.schema.catalog.catalog import load
from methrics.schema.errors import CatalogError, MethricsError
from methrics.schema.wire.limits import CATALOG_MAX


def open(
    catalog: bytes | str | os.PathLike[str],
    *,
    app_version: str | None = None,
    environment: str = "production",
    home: str | os.PathLike[str] | None = None,
    sampling: Mapping[str, int] | None = None,
    publisher: str = "process",
    strict: bool = False,
    relays: Sequence[str] = (),
    clock: Clock | None = None,
    rng: Rng | None = None,
    policy: str = POLICY_FILE,
) -> Recorder:
    """Opens a recorder for the app whose signed catalog is `catalog` (its bytes, or a file's name).

    Reads the catalog file and no other. With `strict`, which is meant for an app's own tests, wrong
    use raises LocalError here and in every method. Without `strict`, a recorder that cannot work
    records nothing, and `statistics()` counts the reason. `RecorderSettings` explains the settings.
    """
    settings = RecorderSettings(
        app_version=app_version,
        environment=environment,
        sampling=sampling or {},
        publisher=publisher,
        strict=strict,
        relays=tuple(relays),
    )
    paths = user_paths(home, policy=policy)
    try:
        settings.check()
        loaded = load(_read(catalog), verify=False)
    except MethricsError as error:
        if strict:
            raise
        dead = Recorder(None, paths, settings, clock=clock, rng=rng)
        dead.fail(error)
        return dead
    return Recorder(loaded, paths, settings, clock=clock, rng=rng)


def _read(catalog: bytes | str | os.PathLike[str]) -> bytes:
    if isinstance(catalog, bytes):
        return catalog
    try:
        path = os.fspath(catalog)
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(fd, "rb") as file:
            return file.read(CATALOG_MAX + 1)
    except (OSError, TypeError, ValueError) as error:
        raise CatalogError(
            "catalog-unread", f"cannot read the catalog: {error}", "pass its bytes or its file name"
        ) from error
