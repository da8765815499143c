"""Importing the gossip package: without fastecdsa, and without touching an app's logging."""

from __future__ import annotations

import subprocess
import sys

EXCHANGE = """
import trio
from methrics.node.network.libp2p import open_swarm
from methrics.schema.wire.verdict import Decision
async def main():
    done = trio.Event()
    async def accept(peer, data):
        done.set()
        return Decision.ACCEPT
    async with open_swarm(listen=["/ip4/127.0.0.1/tcp/0"]) as a, open_swarm() as b:
        await a.join("/t", accept)
        await b.dial(a.addrs[0])
        with trio.fail_after(20):
            await b.wait_for_peers("/t", 1)
            await b.publish("/t", b"x")
            await done.wait()
trio.run(main)
"""

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "fastecdsa":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
"""

P256 = """
from libp2p.crypto.ecc import create_new_key_pair
try:
    create_new_key_pair("P-256")
except (NotImplementedError, AttributeError):
    print("refused")
"""

LOGGING = """
import logging
root = logging.getLogger()
print(root.handlers, root.level == logging.WARNING)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )


def test_works_where_fastecdsa_is_missing() -> None:
    done = run(BLOCK + EXCHANGE + P256)
    assert done.stdout.strip() == "refused"


def test_stock_libp2p_needs_fastecdsa() -> None:
    code = BLOCK + "try:\n    import libp2p\nexcept ModuleNotFoundError as e:\n    print(e.name)\n"
    assert run(code).stdout.strip() == "fastecdsa"


def test_leaves_stderr_and_the_root_logger_alone() -> None:
    done = run(EXCHANGE + LOGGING)
    assert done.stdout.strip() == "[] True"
    assert done.stderr == ""


def test_the_apps_random_numbers_are_left_alone() -> None:
    code = "import random\nrandom.seed(42)\nbefore = random.getstate()\n" + EXCHANGE + DRAWN
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


DRAWN = """
from libp2p.network.swarm import RetryConfig, Swarm
from libp2p.pubsub.gossipsub import GossipSub
waits = Swarm.__new__(Swarm)
waits.retry_config = RetryConfig()
waits._calculate_backoff_delay(1)
GossipSub.select_from_minus(3, range(9), ())
assert random.getstate() == before
"""
