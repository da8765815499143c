"""The copy of libp2p works on its own, and leaves an app's logging alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from methrics._vendor.libp2p.host import basic_host

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
        with trio.fail_after(60):
            await b.wait_for_peers("/t", 1)
            await b.publish("/t", b"x")
            await done.wait()
trio.run(main)
"""

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"libp2p", "fastecdsa"}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
"""

EVERYTHING = """
import logging
logging.basicConfig(format="%(name)s %(message)s")
logging.getLogger("methrics").setLevel("DEBUG")
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


def test_works_without_the_distribution_of_libp2p() -> None:
    run(BLOCK + EXCHANGE)


def test_a_part_that_was_not_copied_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"libp2p\.discovery.*not part of the libp2p"):
        basic_host.MDNSDiscovery()


def test_its_protobuf_types_are_apart_from_those_of_another_libp2p() -> None:
    assert run(POOLS).stdout.split() == ["apart", "pubsub.pb"]


POOLS = """
from google.protobuf import descriptor_pool
from methrics._vendor.libp2p._absent import POOL
from methrics._vendor.libp2p.host import basic_host
try:
    descriptor_pool.Default().FindFileByName("libp2p/pubsub/pb/rpc.proto")
except KeyError:
    print("apart", POOL.FindFileByName("libp2p/pubsub/pb/rpc.proto").package)
"""


def test_an_app_that_logs_everything_of_methrics_sees_no_peer() -> None:
    done = run(EVERYTHING + EXCHANGE)
    assert "12D3Koo" not in done.stderr
    assert "methrics._vendor" not in done.stderr


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
from methrics._vendor.libp2p.network.swarm import RetryConfig, Swarm
waits = Swarm.__new__(Swarm)
waits.retry_config = RetryConfig()
waits._calculate_backoff_delay(1)
assert random.getstate() == before
"""
