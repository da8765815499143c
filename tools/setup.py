"""Makes `.venv` ready for a Makefile target: `python3 tools/setup.py PURPOSE`.

PURPOSE is demo, test-fast, test, lint, bench or all. The script needs only the standard library of
Python 3.11 or newer and the package registries. A second run with nothing new to install uses no
network and ends at once. The script prints one line for each unusual step, and how to continue
when it cannot.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("METHRICS_VENV") or ROOT / ".venv")
LOG = VENV / "setup.log"
STAMP = VENV / "setup.json"
NATIVE = ROOT / "native"

TESTS = frozenset({"test", "test-wire", "test-heavy", "bench"})
"""The dependency groups of all tests. Tests run the benchmarks as well."""

PURPOSES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    # purpose: (extras of the distribution, dependency groups)
    "demo": (frozenset({"aggregate"}), frozenset()),
    "test-fast": (frozenset({"aggregate"}), frozenset({"test"})),
    "test": (frozenset({"aggregate"}), TESTS),
    "lint": (frozenset({"aggregate"}), TESTS | {"lint"}),
    "bench": (frozenset({"aggregate"}), frozenset({"bench"})),
    "all": (frozenset({"all"}), TESTS | {"lint"}),
}

OLDEST = (3, 11)
CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3", "python")


class SetupError(Exception):
    """The environment cannot be made; the message tells a person what to do."""


def say(text: str) -> None:
    """Print one line of progress to standard error; standard output belongs to the target."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


def run(command: Sequence[str | Path], env: dict[str, str] | None = None) -> tuple[bool, str]:
    """Run a command with its output in the log; returns whether it succeeded, and its output."""
    result = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, **(env or {})},
        cwd=ROOT,
        check=False,
    )
    if VENV.is_dir():
        with LOG.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(str(part) for part in command)}\n{result.stdout}\n")
    return result.returncode == 0, result.stdout


def tail(output: str, lines: int = 15) -> str:
    """The end of a failed command's output, indented."""
    return "\n".join(f"    {line}" for line in output.strip().splitlines()[-lines:])


def version_of(python: str) -> tuple[int, int] | None:
    """(major, minor) of an interpreter, or None if it does not run."""
    code = "import sys; print(sys.version_info[0], sys.version_info[1])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    parts = done.stdout.split()
    return (int(parts[0]), int(parts[1])) if done.returncode == 0 and len(parts) == 2 else None


def find_python() -> str:
    """The interpreter to build on: $PYTHON, else this one, else the newest on the path."""
    named = os.environ.get("PYTHON")
    if named:
        if (version_of(named) or (0, 0)) < OLDEST:
            raise SetupError(
                f"PYTHON={named} is not Python 3.11 or newer; unset PYTHON or set it to another"
            )
        return named
    if sys.version_info[:2] >= OLDEST and sys.prefix == sys.base_prefix:
        return sys.executable
    for name in CANDIDATES:
        found = shutil.which(name)
        if found and (version_of(found) or (0, 0)) >= OLDEST:
            return found
    raise SetupError(
        "no Python 3.11 or newer found; install one (Debian: apt-get install python3 python3-venv) "
        "or give its path: make PYTHON=/path/to/python3.12 ..."
    )


def can_apt() -> bool:
    """Whether this process may install system packages without a password."""
    return os.name == "posix" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt(*packages: str) -> bool:
    """Install Debian packages; False when that fails."""
    say(f"installing Debian packages: {' '.join(packages)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-qq"], quiet)
    done, _ = run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], quiet)
    return done


def make_venv(python: str) -> None:
    """Create the environment. Debian packages `venv` separately: install that package if needed."""
    if (VENV / "bin" / "python").exists() and version_of(str(VENV / "bin" / "python")):
        return
    shutil.rmtree(VENV, ignore_errors=True)
    say(f"creating {VENV} with {python}")
    done, output = run([python, "-m", "venv", VENV])
    if not done and can_apt():
        major, minor = version_of(python) or OLDEST
        if apt("python3-venv") or apt(f"python{major}.{minor}-venv"):
            shutil.rmtree(VENV, ignore_errors=True)
            done, output = run([python, "-m", "venv", VENV])
    if not done:
        shutil.rmtree(VENV, ignore_errors=True)
        raise SetupError(
            f"{python} cannot make a virtual environment:\n{tail(output)}\n"
            "  on Debian or Ubuntu: apt-get install python3-venv, then run this again"
        )


def pip(*arguments: str) -> tuple[bool, str]:
    """Run `pip install` of the environment."""
    command = [VENV / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install"]
    return run([*command, "--quiet", *arguments])


def project() -> dict[str, Any]:
    """The content of pyproject.toml."""
    import tomllib  # imported here, because a Python older than 3.11 lacks it

    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def requirements(groups: frozenset[str]) -> list[str]:
    """The requirement strings of dependency groups in pyproject.toml."""
    table = project()["dependency-groups"]
    return [line for group in sorted(groups) for line in table[group]]


def install(extras: frozenset[str], groups: frozenset[str]) -> None:
    """Install the distribution (editable) with these extras and groups."""
    named = " ".join([f"methrics[{','.join(sorted(extras))}]", *sorted(groups)])
    say(f"installing {named} (a minute or so)")
    done, output = pip("-e", f".[{','.join(sorted(extras))}]", *requirements(groups))
    if not done:
        raise SetupError(
            f"installing failed; the full log is {LOG}\n{tail(output)}\n"
            "  if the network failed, run this again: finished downloads are kept"
        )


def has_compiler() -> bool:
    """Whether a C compiler runs on this machine: that of $CC, or else one on the path."""
    named = os.environ.get("CC")
    for name in named.split()[:1] if named else ("cc", "gcc", "clang"):
        with contextlib.suppress(OSError):
            done = subprocess.run([name, "--version"], capture_output=True, check=False)
            return done.returncode == 0
    return False


def build_native() -> None:
    """Build the optional verifier in C if this machine can. Python does its work otherwise."""
    if not has_compiler():
        say("no C compiler, so signatures are checked in Python, which is slower (docs/operate.md)")
        return
    done, _ = pip("--no-deps", str(NATIVE))
    if done:
        say("built the verifier in C: an aggregator checks the signatures of a bundle in one go")
    else:
        say(f"the verifier in C does not build here, so Python does its work; the log is {LOG}")


def fingerprint() -> str:
    """A hash of the declared packages, this script and the folder: if it changes, install again."""
    declared = project()
    parts = [declared[key] for key in ("build-system", "project", "dependency-groups")]
    hashed = hashlib.sha256(json.dumps([str(ROOT), parts]).encode())
    for path in (Path(__file__), NATIVE / "pyproject.toml", NATIVE / "methrics_native.c"):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()


def read_stamp() -> dict[str, Any]:
    """The record of the last installation: fingerprint, extras and groups; empty if unknown."""
    try:
        stamp: dict[str, Any] = json.loads(STAMP.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time set up the environment, if the system has file locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    VENV.parent.mkdir(parents=True, exist_ok=True)
    with (VENV.parent / f"{VENV.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(purpose: str) -> None:
    """Install what `purpose` needs; returns at once if everything is installed."""
    extras, groups = PURPOSES[purpose]
    stamp = read_stamp()
    have_extras, have_groups = (
        frozenset(stamp.get("extras", ())),
        frozenset(stamp.get("groups", ())),
    )
    current = stamp.get("fingerprint") == fingerprint()
    if current and (extras <= have_extras or "all" in have_extras) and groups <= have_groups:
        return
    started = time.monotonic()
    make_venv(find_python())
    extras, groups = extras | have_extras, groups | have_groups
    install(extras, groups)
    build_native()
    say(f"done in {time.monotonic() - started:.0f} s")
    STAMP.write_text(
        json.dumps(
            {
                "fingerprint": fingerprint(),
                "extras": sorted(extras),
                "groups": sorted(groups),
            },
            indent=1,
        ),
        encoding="utf-8",
    )


def main(arguments: Sequence[str]) -> int:
    """Entry point. Exit code 0: the environment is ready; 2: wrong use; 3: it cannot be made."""
    if len(arguments) != 1 or arguments[0] not in PURPOSES:
        say(f"usage: python3 tools/setup.py {'|'.join(PURPOSES)}")
        return 2
    if sys.version_info[:2] < OLDEST:  # an old python3 runs this script: start a newer one
        try:
            python = find_python()
        except SetupError as problem:
            say(str(problem))
            return 3
        return subprocess.call([python, __file__, *arguments])
    try:
        with alone():
            prepare(arguments[0])
    except SetupError as problem:
        say(str(problem))
        return 3
    except KeyboardInterrupt:
        say("interrupted; run it again to continue")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
