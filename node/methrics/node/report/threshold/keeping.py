"""The files of the meter: the person's threshold, and the summaries of public data.

    <config>/trail.json                       {"version": 1, "threshold": 20}
    <data>/<label>-<short key>/public.json    see `public`

Each file is replaced as a whole or not at all. While a file cannot be read, every report is
withheld: the threshold in it is unknown.
"""

from __future__ import annotations

import contextlib
import json
import os

from methrics.node.paths import Paths
from methrics.node.report.threshold.meter import Meter, Withhold, meter_of
from methrics.node.report.threshold.public import Public, from_json, to_json
from methrics.schema.errors import StoreError

VERSION = 1
SETTINGS_MAX = 65_536
PUBLIC_MAX = 64 * 1024 * 1024
"""Most bytes that are read of each of the two files."""


def settings_path(paths: Paths) -> str:
    """The path of the file with the person's threshold, for all apps."""
    return os.path.join(paths.config, "trail.json")


def public_path(paths: Paths, namespace: str) -> str:
    """The path of the file with the summary of one namespace's public data."""
    return os.path.join(paths.namespace(namespace), "public.json")


def read_threshold(paths: Paths) -> int:
    """How many others must report the same as a report; 0 (the default) sends every report.

    Raises StoreError `trail-damaged`.
    """
    path = settings_path(paths)
    document = _read(path, SETTINGS_MAX)
    if document is None:
        return 0
    threshold = document.get("threshold") if isinstance(document, dict) else None
    if type(threshold) is not int or threshold < 0:
        raise _damaged(path, "it contains no threshold")
    return threshold


def write_threshold(paths: Paths, threshold: int) -> None:
    """Stores the person's threshold. Raises StoreError `trail-unwritten`."""
    _write(settings_path(paths), {"version": VERSION, "threshold": threshold}, indent=2)


def read_public(paths: Paths, namespace: str) -> Public | None:
    """The summary of a namespace's public data; None if there is none.

    Raises StoreError `trail-damaged` or `public-damaged`.
    """
    document = _read(public_path(paths, namespace), PUBLIC_MAX)
    return None if document is None else from_json(document)


def write_public(paths: Paths, public: Public) -> str:
    """Stores a summary. Returns the path of its file. Raises StoreError `trail-unwritten`."""
    path = public_path(paths, public.namespace)
    _write(path, to_json(public), indent=None)
    return path


def threshold_meter(paths: Paths, namespace: str) -> Meter | None:
    """The meter for reports of `namespace` by the person's threshold now; None if no threshold is
    set.

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


def _read(path: str, most: int) -> object | None:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(most + 1)
        if len(text) > most:
            raise ValueError("too large")
        document: object = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    return document


def _write(path: str, document: object, *, indent: int | None) -> None:
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
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise StoreError(
            "trail-unwritten",
            f"cannot write {path}: {error.strerror}",
            "make the folder writable, or set METHRICS_HOME",
        ) from error


def _damaged(path: str, what: str) -> StoreError:
    return StoreError(
        "trail-damaged",
        f"cannot read {path}: {what}",
        "remove it and set it again; until then nothing new is sent",
    )
