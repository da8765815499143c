"""`pip install 'methrics[node]'`, or `methrics[http]`, works without a C compiler, and what it
installs publishes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded import CATALOG, NAMESPACE, agree, home, program, receipts, run
from real_network import EXAMPLES, RealNetwork, wait_until
from tests import fresh

from methrics.node.outbox.periods import DAY
from methrics.node.outbox.rows import ACKNOWLEDGED

pytestmark = [pytest.mark.wire, pytest.mark.slow]

LIGHT = {"methrics", "cbor2", "pynacl", "trio", "h11"}
"""What the extra `http` asks for."""

BELOW = {"cffi", "pycparser", "attrs", "sortedcontainers", "idna", "outcome", "sniffio"}
"""What these need themselves."""

SQL = f"SELECT name, worked FROM {CATALOG.label}.command WHERE name = 'search'"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """An environment with `methrics[node]` from the wheel, made without a compiler."""
    folder = tmp_path_factory.mktemp("install") / "venv"
    fresh.install(folder, f"{wheel}[node]")
    return folder


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """An environment with `methrics[http]` from the wheel, made without a compiler."""
    folder = tmp_path_factory.mktemp("light") / "venv"
    fresh.install(folder, f"{wheel}[http]")
    return folder


@pytest.fixture
def http_network(tmp_path: Path) -> Iterator[RealNetwork]:
    folder = tmp_path / "network"
    folder.mkdir()
    with RealNetwork(folder, options=["--http", "127.0.0.1:0"]) as network:
        yield network


def installed(venv: Path) -> set[str]:
    """The names of the distributions of an environment whose requirements are all met."""
    env = fresh.without_compiler(str(venv / "bin"))
    assert fresh.finish(["pip", "check"], env, venv).strip() == "No broken requirements found."
    names = fresh.finish(["pip", "list", "--format=freeze"], env, venv)
    return {line.partition("==")[0].partition(" @")[0].lower() for line in names.splitlines()}


def test_what_is_installed_is_complete(venv: Path) -> None:
    assert not installed(venv) & {"fastecdsa", "libp2p", "duckdb"}


def test_it_publishes_through_a_relay(
    venv: Path, network: RealNetwork, tmp_path: Path, nobody: Path
) -> None:
    paths = home(tmp_path)
    agree(paths)
    python = str(venv / "bin" / "python")
    env = {"METHRICS_HOME": paths.data, "METHRICS_RELAYS": network.relay}
    _, *record = program("short_cli.py", "search", "word", earlier=2 * DAY)
    run([python, *record], tmp_path, **env)
    run([str(venv / "bin" / "methrics"), "publish", "--once"], tmp_path, **env)
    wait_until("send", lambda: receipts(paths) and receipts(paths)[0].state == ACKNOWLEDGED)
    wait_until("store it", lambda: network.rows(SQL) == [("search", True)])


def test_the_extra_http_installs_little(light: Path) -> None:
    assert installed(light) - {"pip", "setuptools"} == LIGHT | BELOW


def test_the_extra_http_is_enough_to_agree_record_and_publish(
    light: Path, http_network: RealNetwork, tmp_path: Path, nobody: Path
) -> None:
    paths = home(tmp_path)
    python = str(light / "bin" / "python")
    env = {"METHRICS_HOME": paths.data, "METHRICS_RELAYS": http_network.url}
    grant = ["consent", "grant", "--catalog", str(EXAMPLES / "app.cbor"), "--yes"]
    run([python, "-W", "error", "-m", "methrics.node", *grant], tmp_path, **env)
    _, *record = program("short_cli.py", "search", "word", earlier=2 * DAY)
    run([python, *record], tmp_path, **env)
    publish = ["-m", "methrics.node.publisher", "--app", NAMESPACE, "--once"]
    run([python, "-W", "error", *publish], tmp_path, **env)
    assert receipts(paths)[0].state == ACKNOWLEDGED
    wait_until("store it", lambda: http_network.rows(SQL) == [("search", True)])
    shown = run([python, "-m", "methrics.node", "consent"], tmp_path, **env)
    assert "who sees it: Everyone: reports are public, for ever." in shown
