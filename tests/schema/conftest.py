"""Fixtures of the schema tests: the namespace, catalog and items of the test vectors."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from tests.listing import listed_book  # noqa: E402
from vector_world import World, seed  # noqa: E402

from methrics.schema.catalog.catalog import load  # noqa: E402
from methrics.schema.judging.book import CatalogBook  # noqa: E402


@pytest.fixture(scope="session")
def world() -> World:
    """Fixed keys, one catalog, and methods that sign its items."""
    return World()


@pytest.fixture
def book(world: World) -> CatalogBook:
    """A book that knows the world's catalog, and a record that lists it."""
    return listed_book(load(world.catalog), seed=seed("namespace"))


STRANGERS = ("cwt==3.3.0", "pycddl==0.6.4")
"""Independent implementations of COSE and CDDL."""


def failure(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines() or ["no message"]
    return lines[-1][:200]


@pytest.fixture(scope="session")
def strangers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with `STRANGERS`, which need an older cbor2 than this project.

    The environment is made once, in pytest's cache; after that, no network is needed. Without the
    cache (`-p no:cacheprovider`), it is made in each run.
    """
    fcntl = pytest.importorskip("fcntl")
    cache = getattr(request.config, "cache", None)
    home = Path(cache.mkdir("strangers") if cache else tmp_path_factory.mktemp("strangers"))
    with home.with_suffix(".lock").open("w") as lock:  # only one of several workers makes it
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _made(home)


def _made(home: Path) -> Path:
    interpreter = home / "bin" / "python"
    probe = [str(interpreter), "-c", "import cwt, pycddl"]
    if interpreter.exists() and subprocess.run(probe, check=False).returncode == 0:
        return interpreter
    venv.create(home, with_pip=True, clear=True)
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", *STRANGERS]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"pip cannot install {' and '.join(STRANGERS)}: {failure(done)}")
    return interpreter
