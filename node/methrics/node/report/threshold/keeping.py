"""Reads and writes the two files of the meter: the person's threshold, and public data.

    <config>/threshold.json                   {"version": 1, "threshold": 20}
    <data>/<label>-<short key>/public.json    see `public`

Each file is replaced as a whole or not at all. If a file exists but cannot be read, the meter
withholds every report, because the threshold or the public data in it are unknown.
"""

from __future__ import annotations

import contextlib
import json
import os

from methrics.node.paths import Paths
from methrics.node.process.regular import read_regular
from methrics.node.report.threshold.meter import Meter, Withhold, meter_of
from methrics.node.report.threshold.public import Public, from_json, public_damaged, to_json
from methrics.schema.errors import StoreError

VERSION = 1
"""Version of the format of threshold.json."""
SETTINGS_MAX = 65_536
PUBLIC_MAX = 64 * 1024 * 1024
"""Most characters of the two files; a longer file counts as damaged."""

_WRITABLE = "make the folder writable, or set METHRICS_HOME"


def settings_path(paths: Paths) -> str:
    """Returns the path of the file with the person's threshold, which is for all apps."""
    return os.path.join(paths.config, "threshold.json")


def public_path(paths: Paths, namespace: str) -> str:
    """Returns the path of the file with the summary of one namespace's public data."""
    return os.path.join(paths.namespace(namespace), "public.json")


def read_threshold(paths: Paths) -> int:
    """Returns how many others must report the same before a report is sent; 0 (the default) sends
    every report.

    Raises StoreError `threshold-damaged` if the file exists but cannot be read.
    """
    for path in (settings_path(paths), _old_settings_path(paths)):
        try:
            document = _read(path, SETTINGS_MAX)
        except (OSError, ValueError) as error:
            raise _threshold_damaged(path, str(error)) from error
        if document is None:
            continue
        threshold = document.get("threshold") if isinstance(document, dict) else None
        if type(threshold) is not int or threshold < 0:
            raise _threshold_damaged(path, "it contains no threshold")
        return threshold
    return 0


def write_threshold(paths: Paths, threshold: int) -> None:
    """Stores the person's threshold. Raises StoreError `threshold-unwritten`."""
    path = settings_path(paths)
    try:
        _write(path, {"version": VERSION, "threshold": threshold}, indent=2)
    except OSError as error:
        raise StoreError(
            "threshold-unwritten", f"cannot write {path}: {error.strerror}", _WRITABLE
        ) from error
    # Otherwise the old value would be read again if the new file is removed.
    with contextlib.suppress(OSError):
        os.unlink(_old_settings_path(paths))


def read_public(paths: Paths, namespace: str) -> Public | None:
    """Returns the summary of a namespace's public data; None if there is no file.

    Raises StoreError `public-damaged` if the file cannot be read.
    """
    path = public_path(paths, namespace)
    try:
        document = _read(path, PUBLIC_MAX)
    except (OSError, ValueError) as error:
        raise public_damaged(f"{path}: {error}") from error
    return None if document is None else from_json(document)


def write_public(paths: Paths, public: Public) -> str:
    """Stores a summary. Returns the path of its file. Raises StoreError `public-unwritten`."""
    path = public_path(paths, public.namespace)
    try:
        _write(path, to_json(public), indent=None)
    except OSError as error:
        raise StoreError(
            "public-unwritten", f"cannot write {path}: {error.strerror}", _WRITABLE
        ) from error
    return path


def threshold_meter(paths: Paths, namespace: str) -> Meter | None:
    """Returns the meter that applies the person's current threshold to the reports of `namespace`;
    None if no threshold is set.

    Never raises: if a file cannot be read, the meter withholds every report and gives the reason.
    """
    try:
        threshold = read_threshold(paths)
        if not threshold:
            return None
        public = read_public(paths, namespace)
    except StoreError as error:
        withhold = Withhold(str(error))
        return lambda event_type, report: withhold
    return meter_of({} if public is None else public.types, threshold)


def _old_settings_path(paths: Paths) -> str:
    """Returns the path at which earlier versions stored the threshold. It is read while there is no
    file at `settings_path`."""
    return os.path.join(paths.config, "trail.json")


def _read(path: str, most: int) -> object | None:
    """Returns the JSON content of a file of at most `most` characters; None if there is no file.

    Raises OSError or ValueError.
    """
    try:
        text = read_regular(path, most * 4 + 1).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(text) > most:
        raise ValueError("too large")
    try:
        document: object = json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    return document


def _write(path: str, document: object, *, indent: int | None) -> None:
    """Replaces the file at `path` by `document` as JSON. Raises OSError."""
    fresh = f"{path}.{os.getpid()}.new"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=indent, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def _threshold_damaged(path: str, what: str) -> StoreError:
    return StoreError(
        "threshold-damaged",
        f"cannot read {path}: {what}",
        "set it again with `methrics threshold set N`; until then every report is withheld",
    )
