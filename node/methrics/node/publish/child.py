"""Starts the publisher as a process of its own, with the import path of the app.

An app may have put its dependencies on `sys.path` itself (a zipapp, a plugin's folder, shiv, pex).
So the process gets the app's import path as an argument, and the same flags of the interpreter.

The app is not the parent of the publisher. A shell starts it in the background, in a session of its
own, and ends; the app waits for the shell by its process id, which takes a few milliseconds. So
an `os.wait()` of the app never waits for the publisher, and the app has no zombie process.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from methrics.node.paths import Paths
from methrics.node.publish.entry import entry_peers, is_url
from methrics.node.publish.own_relays import own_relays
from methrics.node.publish.status import read_status, status_path
from methrics.schema.errors import MethricsError

MARKER = "methrics.node.publisher"
"""The argument by which a person finds the process in a list of processes."""

_BOOT = """\
import os, sys
del sys.argv[1]
sys.path[:] = sys.argv.pop(1).split("\\n")
note = sys.argv.pop(1)
try:
    from methrics.node.publish.launch import main
except ImportError as error:
    with open(note, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(f"import: {error}")
    sys.exit(3)
sys.exit(main(sys.argv[1:]))
"""

_SHELL = "/bin/sh"

_PYTHON = re.compile(r"(python|pypy)w?[0-9.]*t?d?m?(-dbg|-intel64)?(\.exe)?", re.IGNORECASE)
"""File names of interpreters. An app that embeds Python may have set `sys.executable` to itself."""

NEEDED = ("trio", "h11")
"""Packages of the extra `http`: without one of them, no publisher can run."""

NEEDED_BY_LIBP2P = ("multiaddr", "base58")
"""Packages that the extra `node` adds: without one of them, only relays with an https:// address
can be reached."""

_LOADED = ("methrics.node", "methrics.schema", "cbor2", "nacl")

WAIT = 20.0
"""Most seconds for which an app waits for the shell."""


def problem() -> str:
    """Return why this app can start no publisher; "" if it can. Imports nothing."""
    if _frozen():
        return "frozen: a frozen app cannot start Python; publish in the app, with start_thread"
    if interpreter() is None:
        return (
            "no-interpreter: sys.executable is not Python; run `methrics publish` from cron, or "
            "publish in the app, with start_thread"
        )
    missing = [name for name in NEEDED if not _present(name)]
    if missing:
        return f"no-package: {missing[0]} is not installed; pip install 'methrics[http]'"
    return ""


def reachable(relays: Sequence[str]) -> tuple[str, ...]:
    """Return the relays that this install can reach. Imports nothing."""
    if all(_present(name) for name in NEEDED_BY_LIBP2P):
        return tuple(relays)
    return tuple(one for one in relays if is_url(one))


def reach_problem(relays: Sequence[str]) -> str:
    """Return why this install can reach none of the relays; "" if it can, or if there are none."""
    if not relays or reachable(relays):
        return ""
    missing = next(name for name in NEEDED_BY_LIBP2P if not _present(name))
    return (
        f"no-package: {missing} is not installed, and no relay has an https:// address; "
        "pip install 'methrics[node]'"
    )


def publisher_problem(paths: Paths, namespace: str, *, process: bool) -> str:
    """Return why the reports of an app do not leave, as far as it is known, "" if nothing is wrong.
    `process`: whether the app starts the publisher as a process. Never raises."""
    if not process:
        return read_status(paths, namespace)
    return problem() or _reach_problem(paths, namespace) or read_status(paths, namespace)


def _reach_problem(paths: Paths, namespace: str) -> str:
    try:
        return reach_problem(entry_peers(paths, default_relays=own_relays(namespace)).relays)
    except MethricsError as error:
        return f"{error.code}: {error}"


def interpreter() -> str | None:
    """Return the path of the Python that runs this app, or of the same version where the app was
    installed. None for a frozen app, whose executable is the app itself, and if there is none."""
    if _frozen():
        return None
    python = sys.executable
    if python and _PYTHON.fullmatch(os.path.basename(python)) and _runnable(python):
        return python
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for prefix in (sys.prefix, sys.base_prefix):
        found = os.path.join(prefix, "bin", name)
        if _runnable(found):
            return found
    return None


def import_path() -> list[str]:
    """Return the absolute import path that finds what this process found. The entry "" (the working
    directory) is replaced by the folders from which our packages were loaded."""
    entries = [os.path.abspath(one) for one in sys.path if isinstance(one, str) and one]
    roots = []
    for name in _LOADED:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None:
            continue
        root = os.path.abspath(file)
        for _ in range(name.count(".") + 2):
            root = os.path.dirname(root)
        if root not in entries and root not in roots and os.path.exists(root):
            roots.append(root)
    return [one for one in roots + entries if "\n" not in one]


def command(paths: Paths, namespace: str, relays: tuple[str, ...] = ()) -> list[str] | None:
    """Return the command line of the publisher, or None if no publisher can be started."""
    python = interpreter()
    if python is None or problem():
        return None
    home = [] if paths.home is None else ["--home", paths.home]
    entry = [part for relay in relays for part in ("--default-relay", relay)]
    boot = ["-c", _BOOT, MARKER, "\n".join(import_path()), status_path(paths, namespace)]
    return [python, *_flags(), *boot, *home, "--app", namespace, *entry]


def start(argv: list[str], wait: float = WAIT) -> None:
    """Start `argv` as a detached process without standard streams. Raises OSError if that fails.

    Waits at most `wait` seconds for the shell that starts it."""
    null = subprocess.DEVNULL
    shell = subprocess.Popen(
        [_SHELL, "-c", '"$@" &', MARKER, *argv],
        stdin=null,
        stdout=null,
        stderr=null,
        cwd=os.sep,
        start_new_session=True,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        shell.wait(wait)
        return
    # Otherwise Python would print a warning on the app's standard error.
    shell.returncode = 0


def _flags() -> list[str]:
    flags = sys.flags
    chosen = (
        ("-I", bool(flags.isolated)),
        ("-P", True),
        ("-E", bool(flags.ignore_environment)),
        ("-s", bool(flags.no_user_site)),
        ("-S", bool(flags.no_site)),
        ("-B", bool(flags.dont_write_bytecode)),
    )
    return [flag for flag, on in chosen if on]


def _frozen() -> bool:
    """Whether the app was made into one executable (PyInstaller, cx_Freeze, PyOxidizer, Nuitka).
    To run `sys.executable` would then start the app again."""
    main = sys.modules.get("__main__")
    return bool(
        getattr(sys, "frozen", False)
        or hasattr(sys, "_MEIPASS")
        or getattr(sys, "oxidized", False)
        or hasattr(main, "__compiled__")
    )


def _runnable(path: str) -> bool:
    return os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK)


def _present(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
