"""Fresh virtual environments, as a new user makes them: nothing installed, no C compiler."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests import needed

OFFLINE = re.compile(r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ProxyError")
"""What pip prints if it cannot reach a package registry."""

ROOT = Path(__file__).resolve().parent.parent


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout in `folder`, with the installed hatchling."""
    needed.need("hatchling")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("methrics-*.whl")
    return wheel


def without_compiler(path: str, **changes: str) -> dict[str, str]:
    """The environment of a person whose programs are those of `path`: no compiler, no PYTHON*, and
    none of the variables that `make` sets, by which a `make` within it prints more lines."""
    ours = ("PYTHON", "MAKE", "MFLAGS")
    own = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    own.pop("VIRTUAL_ENV", None)
    return {**own, "PATH": path, "CC": "/bin/false", "CXX": "/bin/false", **changes}


def install(venv: Path, *what: str) -> None:
    """Make a virtual environment and install `what` with its pip, without a compiler.

    Skips the test if no package registry can be reached, except in CI."""
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    finish(["pip", "install", "--quiet", *what], without_compiler(str(venv / "bin")), venv)


def finish(command: Sequence[str], env: Mapping[str, str], venv: Path) -> str:
    """Run a program of the virtual environment to its end; returns its output."""
    done = subprocess.run(
        [str(venv / "bin" / command[0]), *command[1:]],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    skip_offline(done.stdout)
    assert done.returncode == 0, done.stdout
    return done.stdout


def skip_offline(output: str) -> None:
    """Skip the test if pip's output says that it reached no registry; in CI the test goes on."""
    if OFFLINE.search(output) and not needed.IN_CI:
        pytest.skip("no package registry can be reached")
