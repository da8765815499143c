"""The consent ledger on disk: one readable JSON file per user, for all apps.

    {"version": 1,
     "apps": {"example-x7...": {"heartbeat": {"on": true, "fields": ["version"],
                                              "routes": ["relay"], "time": 1800000000}}}}

Written under a lock, whole or not at all; a file that cannot be read means no to everything.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Iterable, Mapping

from methrics.node.clock import Clock
from methrics.node.consent import (
    ROUTES,
    Answer,
    Answers,
    Effective,
    decide,
    forbidden,
    off,
)
from methrics.node.paths import Places
from methrics.schema.errors import ConfigError, StoreError

LEDGER_VERSION = 1
LEDGER_MAX = 1_048_576
"""Bytes of a ledger or policy that is read; a larger one is damaged."""

RECHECK = 1.0
"""Seconds between two looks at the files and the environment while an app records."""

_changes = 0
"""Answers given by this process: a switch that sees it move looks at once (METH-15)."""


def read_answers(path: str) -> Answers:
    """The answers in the ledger at `path`; none if there is no file.

    Raises StoreError `ledger-damaged` if it is not one, `ledger-newer` if a later version wrote it.
    """
    document = _read_json(path)
    if document is None:
        return {}
    try:
        version, apps = document["version"], document["apps"]
        if not isinstance(version, int) or not isinstance(apps, dict):
            raise TypeError("version or apps")
        if version > LEDGER_VERSION:
            raise StoreError(
                "ledger-newer",
                f"{path} was written by a newer methrics",
                "upgrade methrics; until then nothing is recorded",
            )
        return {
            str(namespace): {str(name): _answer(entry) for name, entry in types.items()}
            for namespace, types in apps.items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(path, f"unexpected content: {error}") from error


def policy_off(path: str) -> bool:
    """Whether the system's policy says no: {"metrics": "off"}. A file with {"metrics": "ask"}
    leaves it to the user; any other content, or a file that cannot be read, means no."""
    try:
        document = _read_json(path)
    except StoreError:
        return True
    return document is not None and document.get("metrics") != "ask"


def grant(
    places: Places,
    namespace: str,
    types: Iterable[str],
    *,
    fields: Collection[str] | None = None,
    routes: Collection[str] = ("relay",),
    now: int,
) -> None:
    """Writes the user's yes to each of `types`, for `fields` (None: all) over `routes`.

    Raises ConfigError for an unknown route, StoreError if the ledger cannot be read or written.
    """
    unknown = sorted(set(routes) - set(ROUTES))
    if unknown or not routes:
        raise ConfigError(
            "unknown-route", f"no such route: {', '.join(unknown)}", f"one of {', '.join(ROUTES)}"
        )
    entry: dict[str, object] = {
        "on": True,
        "fields": None if fields is None else sorted(set(fields)),
        "routes": sorted(set(routes)),
        "time": now,
    }
    _update(places, namespace, dict.fromkeys(types, entry))


def withdraw(
    places: Places, namespace: str, types: Iterable[str] | None = None, *, now: int
) -> None:
    """Writes the user's no to each of `types`, or to all that were ever answered (None).

    Whatever waits in the outbox is not touched here; `Journal.purge` forgets it.
    """
    chosen = list(read_answers(places.ledger).get(namespace, {}) if types is None else types)
    entry: dict[str, object] = {"on": False, "fields": [], "routes": [], "time": now}
    _update(places, namespace, dict.fromkeys(chosen, entry))


class ConsentSwitch:
    """What holds now for one namespace, cheap enough to ask on every call.

    `deadline` is the monotonic time until which `on_types` is to be believed; past it `refresh`
    looks at the files (by `stat`) and the environment again.
    """

    def __init__(self, places: Places, namespace: str, environment: str, clock: Clock) -> None:
        self.deadline = -1.0
        self.on_types: dict[str, Effective] = {}
        self.rule: str | None = None
        self._places = places
        self._namespace = namespace
        self._environment = environment
        self._clock = clock
        self._answers: Answers = {}
        self._policy_off = False
        self._seen: tuple[object, ...] | None = None
        self._changes = 0

    def refresh(self) -> None:
        """Looks again. Never raises: what cannot be read means no."""
        self.deadline = self._clock.monotonic() + RECHECK
        self._changes = _changes
        seen = (_signature(self._places.ledger), _signature(self._places.policy))
        if seen != self._seen:
            self._policy_off = policy_off(self._places.policy)
            try:
                self._answers = read_answers(self._places.ledger)
            except StoreError:
                self._answers = {}
            self._seen = seen
        self.rule = forbidden(
            policy_off=self._policy_off, env=os.environ, environment=self._environment
        )
        if self.rule is not None:
            self.on_types = {}
            return
        decided = ((name, self._decide(name)) for name in self._answers.get(self._namespace, {}))
        self.on_types = {name: effective for name, effective in decided if effective.on}

    def effective(self, type_name: str, monotonic: float | None = None) -> Effective:
        """What holds for one event type, after a fresh look if one is due at `monotonic` (now)."""
        if monotonic is None:
            monotonic = self._clock.monotonic()
        if monotonic >= self.deadline or self._changes != _changes:
            self.refresh()
        found = self.on_types.get(type_name)
        if found is not None:
            return found
        return off(self.rule) if self.rule is not None else self._decide(type_name)

    def _decide(self, type_name: str) -> Effective:
        return decide(
            policy_off=self._policy_off,
            env=os.environ,
            environment=self._environment,
            answers=self._answers,
            namespace=self._namespace,
            type_name=type_name,
        )


def changes() -> int:
    """How often this process changed the ledger."""
    return _changes


def _update(places: Places, namespace: str, entries: Mapping[str, Mapping[str, object]]) -> None:
    global _changes
    import json

    from methrics.node.lock import FileLock

    path = places.ledger
    try:
        with FileLock(path + ".lock"):
            read_answers(path)  # never overwrite what cannot be understood
            document = _read_json(path) or {"version": LEDGER_VERSION, "apps": {}}
            apps = document["apps"]
            assert isinstance(apps, dict)
            apps.setdefault(namespace, {}).update(entries)
            _write(path, json.dumps(document, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        raise StoreError(
            "ledger-unwritten",
            f"cannot write {path}: {error.strerror}",
            "make the folder writable, or set METHRICS_HOME",
        ) from error
    _changes += 1


def _write(path: str, text: str) -> None:
    fresh = f"{path}.{os.getpid()}.new"
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def _read_json(path: str) -> dict[str, object] | None:
    """The JSON object in a file, None without one. StoreError `ledger-damaged` for all else."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LEDGER_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    import json

    try:
        if len(text) > LEDGER_MAX:
            raise ValueError("too large")
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(document, dict):
        raise _damaged(path, "not an object")
    return document


def _answer(entry: Mapping[str, object]) -> Answer:
    on, fields, routes = entry["on"], entry["fields"], entry["routes"]
    if not isinstance(on, bool):
        raise TypeError("on")
    if fields is not None and not _names(fields):
        raise TypeError("fields")
    if not _names(routes):
        raise TypeError("routes")
    assert isinstance(routes, list)
    assert fields is None or isinstance(fields, list)
    return Answer(
        on, None if fields is None else frozenset(map(sys.intern, fields)), frozenset(routes)
    )


def _names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _signature(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _damaged(path: str, what: str) -> StoreError:
    return StoreError(
        "ledger-damaged",
        f"cannot read {path}: {what}",
        "move it away and answer again; until then nothing is recorded",
    )
