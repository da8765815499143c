"""An app in JavaScript hands a report to a real relay, and an aggregator stores it.

The program was written from SPEC.md alone; js-libp2p is the one of package-lock.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from real_network import RealNetwork, wait_until
from tests.interop import javascript

import methrics.schema
from methrics.node.clock import Clock
from methrics.schema.example import example_catalog, example_seed

HERE = Path(__file__).parent
SIGNED = Path(methrics.schema.__file__).parent / "example" / "example.cbor"
CATALOG = example_catalog()


@pytest.fixture(scope="session")
def submitter(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The implementation in JavaScript, beside the packages of js-libp2p."""
    packages = javascript.packages(pytestconfig, HERE)
    sources = Path(javascript.__file__).parent.glob("*.mjs")
    return javascript.assemble(packages, sources, tmp_path_factory.mktemp("submitter"))


def test_report_from_javascript_goes_through_a_relay_into_the_store(
    submitter: Path, tmp_path: Path
) -> None:
    values = {"os": "linux", "daily": True}
    with RealNetwork(tmp_path, [SIGNED], example_seed()) as network:
        (printed,) = javascript.run(
            submitter,
            "submit.mjs",
            network.relay,
            CATALOG.id.hex(),
            "heartbeat",
            json.dumps(values),
            str(Clock().now()),
        )
        assert printed["topic"] == CATALOG.topic
        assert printed["reasons"] == ["ok", "forged", "duplicate"]
        sql = "SELECT os, daily FROM example.heartbeat"
        wait_until("store it", lambda: network.rows(sql) == [("linux", True)])
        stored = f"SELECT count(*) FROM item WHERE hex(id) = '{printed['id'].upper()}'"
        assert network.rows(stored) == [(1,)]
