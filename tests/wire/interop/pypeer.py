"""Stock py-libp2p from the package index, in a process of its own: `stock_peer.py`."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from driving import StockPeer, driven

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

from vendor import PIN

SCRIPT = Path(__file__).parent / "stock_peer.py"


def install(cache: Path) -> Path:
    """Install the pinned libp2p below `cache` without what it requires, unless it is there.

    Raises CalledProcessError where that cannot be done.
    """
    folder = cache / hashlib.sha256(PIN.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "installed"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            wanted = folder / "requirements.txt"
            wanted.write_text(PIN + "\n")
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            command += ["--only-binary=:all:", "--require-hashes", "--target", str(folder / "lib")]
            subprocess.run(
                [*command, "-r", str(wanted)], capture_output=True, check=True, timeout=300
            )
            ready.touch()
    return folder / "lib"


def package(config: pytest.Config) -> Path:
    """The same in pytest's own cache; skips the test where it cannot be installed."""
    cache = getattr(config, "cache", None)
    if cache is None:
        pytest.skip("the cache that would hold libp2p is switched off")
    try:
        return install(cache.mkdir("python"))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"pip cannot install libp2p: {error.stderr.decode()[-300:]}")


@contextlib.asynccontextmanager
async def stock_peer(folder: Path, degree: int = 6) -> AsyncIterator[StockPeer]:
    """A running stock peer of py-libp2p with this mesh degree."""
    command = [sys.executable, "-W", "ignore", str(SCRIPT), str(folder), str(degree)]
    async with driven(command) as peer:
        yield peer
