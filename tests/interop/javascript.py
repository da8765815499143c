"""Runs JavaScript with the packages that a package-lock.json names.

Packages are installed once, into a folder that pytest keeps between runs, so that later runs work
offline. A program is a folder of a test run: a copy of the sources with a link to the packages.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("package.json", "package-lock.json")


class UnavailableError(Exception):
    """There is no Node.js here, or its packages cannot be installed."""


def _require_version(wanted: str) -> None:
    """Raises `UnavailableError` if Node.js is older than `wanted`, such as ">=20"."""
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    version = done.stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < int(wanted.removeprefix(">=")):
        raise UnavailableError(f"Node.js is {version}, but {wanted} is needed")


def install(source: Path, cache: Path) -> Path:
    """Install the packages of `source`'s package-lock.json below `cache`, unless they are there.

    Returns their node_modules folder. Raises `UnavailableError` where that cannot be done. Several
    processes may call this at once with the same `cache`.
    """
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        raise UnavailableError("node and npm are not on the path")
    _require_version(json.loads((source / "package.json").read_bytes())["engines"]["node"])
    contents = b"".join((source / name).read_bytes() for name in _NAMES)
    folder = cache / hashlib.sha256(contents).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "installed"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            for name in _NAMES:
                shutil.copy(source / name, folder / name)
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
            )
            if done.returncode != 0:
                errors = [line for line in done.stderr.splitlines() if "npm error" in line]
                raise UnavailableError("npm ci failed: " + "; ".join(errors[:2]))
            ready.touch()
    return folder / "node_modules"


def packages(config: pytest.Config, source: Path) -> Path:
    """The same in pytest's own cache; skips the test where packages cannot be installed."""
    cache = getattr(config, "cache", None)
    if cache is None:
        pytest.skip("the cache that would hold the packages is switched off")
    try:
        return install(source, cache.mkdir("javascript"))
    except UnavailableError as error:
        pytest.skip(str(error))


def assemble(node_modules: Path, sources: Iterable[Path], folder: Path) -> Path:
    """Copy `sources` into `folder`, link the packages there, and return `folder`."""
    for path in sources:
        shutil.copy(path, folder / path.name)
    (folder / "node_modules").symlink_to(node_modules)
    return folder


def run(program: Path, script: str, *arguments: str, lines: Iterable[Any] = ()) -> list[Any]:
    """Run one script of a program to its end: `lines` go in, and lines come out, as JSON."""
    done = subprocess.run(
        ["node", str(program / script), *arguments],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
        env={**os.environ, "NODE_NO_WARNINGS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
