"""Stock libp2p 0.8.1 still has the flaws that `methrics.node.network.libp2p` overrides.

A test that fails here is good news: the flaw was mended, and the override named beside it can go.
The same attacks on ours are in test_gossip_hardened.py.
"""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from methrics._vendor.libp2p import security

STOCK = Path(__file__).with_name("stock.py")


def run(case: str) -> dict[str, Any] | None:
    """What stock reports after the attack; None if it did not survive."""
    done = subprocess.run(
        [sys.executable, str(STOCK), case], capture_output=True, text=True, timeout=180, check=False
    )
    if done.returncode != 0:
        assert "Error" in done.stderr, "it should have died of the attack, not of the test"
        return None
    reported: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return reported


def count(case: str, name: str) -> int:
    """One number that stock reports. It depends on the speed of the machine, and on the flaw."""
    reported = run(case)
    assert reported is not None
    return int(reported[name])


@pytest.mark.parametrize(
    "case",
    [
        pytest.param("bad_protobuf", id="C1 undecodable frame"),
        pytest.param("bad_key", id="C1 undecodable key"),
        pytest.param("raising_validator", id="C2 raising validator"),
        pytest.param("raising_handler", id="C2 raising handler"),
        pytest.param("early_stream", id="C8 stream before the service runs"),
    ],
)
def test_stock_host_dies(case: str) -> None:
    assert run(case) is None


def test_stock_listener_takes_a_fixed_number_of_connections() -> None:  # C3, network.py
    assert 0 < count("inbound_connections", "taken") <= 10  # of 14


@pytest.mark.slow
def test_stock_peers_stay_partitioned_after_an_oversize_frame() -> None:  # C4, pubsub.py
    assert run("oversize") == {"arrived": 0, "connected": True}


def test_stock_takes_ten_messages_a_second() -> None:  # C5, router.py
    assert 0 < count("rate", "arrived") < 30  # of 30: 10 unless the machine is slow


def test_stock_subscription_drops_beyond_32() -> None:  # C6, pubsub.py: validators consume
    assert 0 < count("subscription_queue", "arrived") < 100  # of 100: 32 unless it is slow


def test_stock_unsigned_messages_name_their_sender() -> None:  # C7: we stay with StrictSign
    assert run("unsigned") == {"names_sender": True}


def test_the_copy_has_no_security_but_noise() -> None:  # C9, network.py
    names = {one.name for one in pkgutil.iter_modules(security.__path__) if one.ispkg}
    assert names == {"noise"}


def test_stock_installs_a_handler_on_the_root_logger() -> None:  # compat.py
    assert run("root_logging") == {"handlers": 1}


def test_stock_shares_a_port_without_an_error() -> None:  # dialing.py
    assert run("shared_port") == {"second_listeners": 1}
