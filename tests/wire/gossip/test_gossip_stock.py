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


def test_stock_host_dies_of_a_raising_handler() -> None:  # C2, network.py
    assert run("raising_handler") is None


def test_stock_listener_takes_a_fixed_number_of_connections() -> None:  # C3, network.py
    assert 0 < count("inbound_connections", "taken") <= 10  # of 14


def test_the_copy_has_no_security_but_noise() -> None:  # C9, network.py
    names = {one.name for one in pkgutil.iter_modules(security.__path__) if one.ispkg}
    assert names == {"noise"}


def test_stock_installs_a_handler_on_the_root_logger() -> None:  # compat.py
    assert run("root_logging") == {"handlers": 1}


def test_stock_shares_a_port_without_an_error() -> None:  # dialing.py
    assert run("shared_port") == {"second_listeners": 1}
