"""`methrics aggregate --trust --quorum --key`: clear errors, and a key that lasts."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from methrics.aggregate.cli.aggregate import key_beside
from methrics.aggregate.cli.root import root
from methrics.node.network.peer_ids import peer_id_of

PEER = peer_id_of(b"k" * 32)
TOPIC = "/methrics/1/example-yzvz5ig7g2d3ls5b/cbor"


def run(tmp_path: Path, *arguments: str) -> Result:
    given = ["aggregate", str(tmp_path / "metrics.duckdb"), "--topic", TOPIC, *arguments]
    return CliRunner().invoke(root, given)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--trust", "nobody"], "'nobody' is not the id of a peer"),
        (["--trust", "/ip4/192.0.2.1/tcp/4001"], "is not the id of a peer"),
        (["--trust", PEER, "--quorum", "2"], "a quorum of 2 of 1 trusted peers"),
        (["--trust", PEER, "--quorum", "0"], "a quorum of 0 would let anyone"),
        (["--quorum", "1"], "a quorum needs peers"),
    ],
)
def test_a_wrong_trust_is_refused_before_a_file_is_made(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    done = run(tmp_path, *arguments)
    assert done.exit_code != 0
    assert says in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_the_key_is_beside_the_file() -> None:
    assert key_beside(Path("a/metrics.duckdb")) == Path("a/metrics.key")
    assert key_beside(Path("a/metrics.key")) == Path("a/metrics.key.key")
