"""The consent ledger on disk: one readable JSON file per user for all apps (see `ledger_format`).

The file is written under a lock, as a whole or not at all, so that two processes never lose an
answer. If it cannot be read, everything is off, and the file is never overwritten. When a person
gives a new answer, a damaged file is renamed for inspection and a new one is started.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from methrics.node.consent import changes
from methrics.node.consent.answer import EVERY, Answers
from methrics.node.consent.ledger_file import (
    FILE_MAX,
    damaged,
    move_aside,
    read_json,
    write_text,
)
from methrics.node.consent.ledger_format import (
    LEDGER_VERSION,
    Document,
    Edit,
    answers,
    apply,
    asked,
    empty,
    history,
    stamp,
    text_of,
)
from methrics.node.paths import Paths
from methrics.node.report.route_names import ROUTES
from methrics.schema.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from methrics.schema.catalog.catalog import Catalog

SCRIPT = "script"
"""The default for how an answer was given: by a program, without a question."""

_T = TypeVar("_T")


class Ledger(NamedTuple):
    """The content of a ledger. `asked`: when an app last asked unprompted, "" for never. `history`:
    all changes of answers, oldest first, in the form that `ledger_format` describes."""

    answers: Answers
    asked: str
    history: list[dict[str, object]]


def read_answers(path: str) -> Answers:
    """Returns the answers in the ledger at `path`; an empty mapping if there is no file.

    Raises StoreError: `ledger-damaged` if the file is no ledger, `ledger-newer` if a later version
    of methrics wrote it, `ledger-unread` if the system cannot read it.
    """
    document = _read_ledger(path)
    return {} if document is None else _understood(path, answers, document)


def read_ledger(path: str) -> Ledger:
    """Returns everything in the ledger at `path`. Raises StoreError as `read_answers` does."""
    document = _read_ledger(path) or empty()
    read = _understood
    return Ledger(
        read(path, answers, document), read(path, asked, document), read(path, history, document)
    )


def policy_off(path: str) -> bool:
    """Returns whether the system's policy file forbids everything. If there is no file, or it
    contains {"metrics": "ask"}, each user decides. Any other content, such as {"metrics": "off"},
    forbids everything, and so does a file that cannot be read."""
    try:
        document = read_json(path)
    except StoreError:
        return True
    return document is not None and document.get("metrics") != "ask"


def grant(
    paths: Paths,
    namespace: str,
    types: Iterable[str],
    *,
    fields: Collection[str] | None = None,
    routes: Collection[str] = ("relay",),
    now: int,
    catalog: Catalog | None = None,
    through: str = SCRIPT,
) -> str | None:
    """Writes a yes to each of `types`, for `fields` (None: all) and `routes`.

    `catalog`: the catalog that the person was shown. Without it, the answer also covers changes in
    later catalogs, so only tests and scripts leave it out. Returns as `write` does. Raises
    ConfigError for an unknown route, StoreError if the ledger cannot be read or written.
    """
    unknown = sorted(set(routes) - set(ROUTES))
    if unknown or not routes:
        raise ConfigError(
            "unknown-route", f"no such route: {', '.join(unknown)}", f"one of {', '.join(ROUTES)}"
        )
    number, declared = (0, {}) if catalog is None else (catalog.number, catalog.types)
    edits = [
        Edit(namespace, name, "yes", fields, routes, declared.get(name), number) for name in types
    ]
    return write(paths, edits, now=now, through=through)


def withdraw(
    paths: Paths,
    namespace: str,
    types: Iterable[str] | None = None,
    *,
    now: int,
    through: str = SCRIPT,
) -> str | None:
    """Writes a no to each of `types`, or to the whole app if `types` is None, including types that
    it adds later.

    If also `namespace` is EVERY, writes a no to every app, including later ones. Events that wait
    in the outbox stay there; `Journal.purge` deletes them. Returns and raises as `write` does.
    """
    if types is not None:
        edits = [Edit(namespace, name, "no") for name in types]
        return write(paths, edits, now=now, through=through)

    def all_of(before: Answers) -> list[Edit]:
        apps = [namespace] if namespace != EVERY else sorted({*before, EVERY})
        return [
            Edit(app, name, "no") for app in apps for name in sorted({*before.get(app, {}), EVERY})
        ]

    return write(paths, all_of, now=now, through=through)


def write(
    paths: Paths,
    edits: Collection[Edit] | Callable[[Answers], Collection[Edit]],
    *,
    now: int,
    through: str,
    unprompted: bool = False,
) -> str | None:
    """Writes several answers under the ledger's lock, either all or none. `edits`: the answers, or
    a function that makes them from the answers before.

    With `unprompted`, the time is stored at which an app asked unprompted, so that no other app
    does so soon after. If the ledger was damaged, returns the new name of the damaged file;
    otherwise None. Raises StoreError if the ledger cannot be written, or if a later version of
    methrics wrote it.
    """
    from methrics.node.process.lock import FileLock

    path = os.path.realpath(paths.ledger)  # a link stays a link
    aside = None
    try:
        with FileLock(path + ".lock"):
            try:
                document = _read_ledger(path) or empty()
                before = _understood(path, answers, document)
                _understood(path, history, document)
            except StoreError as error:
                if error.code != "ledger-damaged":
                    raise
                document, before, aside = empty(), {}, move_aside(path, stamp(now))
            chosen = edits(before) if callable(edits) else edits
            apply(document, chosen, now=now, through=through, who=_who())
            if unprompted:
                document["asked"] = stamp(now)
            _write(path, document)
    except OSError as error:
        raise StoreError(
            "ledger-unwritten",
            f"cannot write {path}: {error.strerror}",
            "make the folder writable, or set METHRICS_HOME",
        ) from error
    changes.note()
    return aside


def _read_ledger(path: str) -> Document | None:
    document = read_json(path)
    if document is None:
        return None
    version = document.get("version")
    if type(version) is not int:
        raise damaged(path, "unexpected content: version")
    if version > LEDGER_VERSION:
        raise StoreError(
            "ledger-newer",
            f"{path} was written by a newer methrics",
            "upgrade methrics; until then nothing is recorded",
        )
    return document


def _understood(path: str, read: Callable[[Document], _T], document: Document) -> _T:
    try:
        return read(document)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise damaged(path, f"unexpected content: {error}") from error


def _write(path: str, document: Document) -> None:
    try:
        text = text_of(document, FILE_MAX)
    except ValueError as error:
        raise StoreError(
            "ledger-full",
            f"{path} would grow too large: {error}",
            "withdraw apps that you no longer use",
        ) from error
    write_text(path, text)


def _who() -> str:
    """Returns the name of the person's user account, for the history."""
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError, ImportError):  # an account without a name, as in containers
        return str(os.getuid()) if hasattr(os, "getuid") else ""
