"""`methrics.node.open`: opens a recorder for an app's catalog, and never makes the app fail."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from methrics.node.clock import Clock, Rng
from methrics.node.paths import POLICY_FILE, no_paths, user_paths
from methrics.node.process.foreign import is_of_the_app, pass_on
from methrics.node.process.regular import read_regular
from methrics.node.publish.own_relays import remember_relays
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.errors import CatalogError, ConfigError, LocalError
from methrics.schema.wire.limits import CATALOG_MAX

_HINT = "pass its bytes or its file name"


def open(
    catalog: bytes | str | os.PathLike[str],
    *,
    app_version: str | None = None,
    environment: str = "production",
    home: str | bytes | os.PathLike[str] | None = None,
    sampling: Mapping[str, int] | None = None,
    publisher: str = "process",
    strict: bool = False,
    relays: Sequence[str] | None = (),
    clock: Clock | None = None,
    rng: Rng | None = None,
    policy: str = POLICY_FILE,
) -> Recorder:
    """Opens a recorder for the app whose signed catalog is `catalog` (its bytes, or a file's name).

    Reads the catalog file and no other. With `strict`, which is meant for an app's own tests, wrong
    use raises LocalError here and in every method. Without `strict` this function never raises,
    whatever the arguments: a recorder that cannot work records nothing, and `statistics()` counts
    the reason. `RecorderSettings` explains the settings.
    """
    try:
        settings = RecorderSettings.of(
            app_version=app_version,
            environment=environment,
            sampling=sampling,
            publisher=publisher,
            strict=strict,
            relays=relays,
            catalog=catalog,
        )
        _check_sources(clock, rng)
        paths = user_paths(home, policy=policy)
        loaded = _load(catalog)
        recorder = Recorder(loaded, paths, settings, clock=clock, rng=rng)
        if unknown := _unknown(settings.sampling, loaded.types):
            if settings.strict:
                raise unknown
            recorder.fail(unknown)
        if settings.relays:
            remember_relays(recorder.namespace, settings.relays)
        return recorder
    except LocalError as error:
        fault = error
    except Exception as error:
        if is_of_the_app(error):
            raise
        # An argument's own method raised, such as `__iter__` of `relays`.
        fault = ConfigError("bad-setting", f"a setting cannot be used: {type(error).__name__}")
        fault.__cause__ = error
    if strict is True:
        raise fault
    dead = Recorder(None, no_paths(), RecorderSettings())
    dead.fail(fault)
    return dead


def _unknown(sampling: Iterable[str], types: Collection[str]) -> ConfigError | None:
    """Returns the error for the first name in `sampling` that is no event type; None if there is no
    such name. The recorder still works: all events of the type that was meant are recorded."""
    for name in sampling:
        if name not in types:
            from difflib import get_close_matches

            near = get_close_matches(str(name), types, 1)
            hint = f"did you mean {near[0]}?" if near else f"declared: {', '.join(types)}"
            return ConfigError("unknown-type", f"sampling names no event type: {name!r:.80}", hint)
    return None


def _check_sources(clock: object, rng: object) -> None:
    """Raises ConfigError if the app's own clock or random generator has a wrong type."""
    if clock is not None and not isinstance(clock, Clock):
        raise ConfigError("bad-setting", "clock must be a methrics.node.clock.Clock")
    if rng is not None and not callable(rng):
        raise ConfigError(
            "bad-setting", "rng must be a function", "such as random.Random(seed).random"
        )


def _load(catalog: bytes | str | os.PathLike[str]) -> Catalog:
    """Returns the catalog in these bytes or this file. Raises CatalogError, which names the
    file."""
    raw = _read(catalog)
    try:
        return load(raw, verify=False)
    except CatalogError as error:
        if isinstance(catalog, bytes):
            raise
        message = f"{os.fspath(catalog)}: {error.message}"
        raise CatalogError(error.code, message, error.hint) from error


def _read(catalog: bytes | str | os.PathLike[str]) -> bytes:
    """Returns the first CATALOG_MAX + 1 bytes of the catalog. Raises CatalogError."""
    if isinstance(catalog, bytes):
        return catalog
    try:
        return read_regular(os.fspath(catalog), CATALOG_MAX + 1)
    except (OSError, TypeError, ValueError) as error:
        pass_on(error)
        raise CatalogError("catalog-unread", f"cannot read the catalog: {error}", _HINT) from error
