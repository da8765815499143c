"""A pytest plugin that reports its version and platform, from pip install to a query (DEP 8)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from embedded import EARLIER, home, publishing, receipts, waiting
from real_network import METHRICS, PLUGIN, RealNetwork, environment, wait_until

from methrics.node.outbox.periods import DAY
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.paths import Paths, namespace_of
from methrics.node.process.lock import FileLock
from methrics.node.report.facts import machine_facts
from methrics.schema.catalog.catalog import load

pytestmark = [pytest.mark.wire, pytest.mark.slow]

SIGNED = PLUGIN / "pytest_census" / "catalog.cbor"
CATALOG = load(SIGNED.read_bytes())
NAMESPACE = namespace_of(CATALOG.label, CATALOG.short_key)

TESTS = """
def test_adds():
    assert 1 + 1 == 2

def test_fails():
    assert 1 + 1 == 3
"""

NO_OTHERS = [
    part for name in ("trio", "hypothesispytest", "anyio") for part in ("-p", f"no:{name}")
]
"""Other pytest plugins of this environment, turned off because importing them takes seconds."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin as pip installs it, in a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    for path in PLUGIN.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = source / path.relative_to(PLUGIN)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    own = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    done = subprocess.run([*pip, *own, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """pytest in a project of its own, with the plugin found by its entry point."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "test_it.py").write_text(TESTS)

    def run(*options: str, earlier: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        shift = ["-c", EARLIER, str(earlier)] if earlier else []
        command = [sys.executable, "-W", "error", *shift, "-m", "pytest", "-p", "no:cacheprovider"]
        return subprocess.run(
            [*command, *NO_OTHERS, *options],
            cwd=project,
            env=environment(PYTHONPATH=str(installed), PYTHONDONTWRITEBYTECODE="1", **env),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture
def person(tmp_path: Path) -> Paths:
    return home(tmp_path)


def agree(paths: Paths) -> None:
    """Run `methrics consent grant`, as the README of the plugin describes."""
    command = [
        *METHRICS,
        "consent",
        "grant",
        "--catalog",
        str(SIGNED),
        "--yes",
        "--home",
        paths.data,
    ]
    subprocess.run(command, check=True, capture_output=True, env=environment())


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def told(done: subprocess.CompletedProcess[str]) -> str:
    """The output of pytest, without the seconds it took and the lines that fill their row."""
    assert done.returncode == 1, "one test fails, with or without the plugin"
    assert done.stderr == ""
    plugins = re.sub(r"^plugins: .*\n", "", done.stdout, flags=re.MULTILINE)
    return re.sub(r"=+", "=", re.sub(r"in \d+\.\d+s( \([\d:]+\))?", "", plugins))


def test_the_catalog_lints_clean() -> None:
    command = [*METHRICS, "catalog", "lint", str(PLUGIN / "catalog.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ready to be signed" in done.stdout


def test_without_a_yes_nothing_at_all_is_written(run: Run, person: Paths, tmp_path: Path) -> None:
    bare = told(run("-p", "no:census"))
    before = files(tmp_path)
    assert told(run(METHRICS_HOME=person.data)) == bare
    assert files(tmp_path) == before
    assert "census: decided by default" in run("-v", METHRICS_HOME=person.data).stdout
    assert files(tmp_path) == before


def test_with_a_yes_each_run_keeps_one_row_the_latest(run: Run, person: Paths) -> None:
    agree(person)
    for _ in range(2):
        told(run(METHRICS_HOME=person.data))
        (row,) = waiting(person, NAMESPACE)
        assert row.type == "setup"
        assert row.values == {
            "version": "1.2",
            "pytest": ".".join(version("pytest").split(".")[:2]),
            **{name: row.values[name] for name in ("python", "os")},
        }
        assert row.values["python"] == machine_facts(["python"])["python"]


def test_ci_records_nothing_despite_a_yes(run: Run, person: Paths) -> None:
    agree(person)
    before = files(Path(person.data))
    told(run(METHRICS_HOME=person.data, CI="true"))
    assert files(Path(person.data)) == before


@pytest.mark.parametrize("trouble", ["no folder", "no catalog", "busy"])
def test_our_errors_do_not_fail_the_test_run(
    trouble: str, run: Run, person: Paths, installed: Path
) -> None:
    bare = told(run("-p", "no:census"))
    agree(person)
    if trouble == "no folder":
        Path(person.namespace(NAMESPACE)).write_text("a file where a folder should be")
        assert told(run(METHRICS_HOME=person.data)) == bare
        return
    if trouble == "busy":
        Path(person.namespace(NAMESPACE)).mkdir()
        with FileLock(person.outbox(NAMESPACE) + ".lock"):
            assert told(run(METHRICS_HOME=person.data)) == bare
        return
    shipped = installed / "pytest_census" / "catalog.cbor"
    raw = shipped.read_bytes()
    shipped.write_bytes(raw[:-1])
    try:
        assert told(run(METHRICS_HOME=person.data)) == bare
    finally:
        shipped.write_bytes(raw)


def test_from_a_test_run_to_the_versions_in_use(
    network: RealNetwork, run: Run, person: Paths
) -> None:
    agree(person)
    env = {"METHRICS_HOME": person.data, "METHRICS_RELAYS": network.relay}
    told(run(earlier=2 * DAY, **env))
    assert receipts(person, NAMESPACE) == []
    told(run(**env))

    def sent() -> bool:
        found = receipts(person, NAMESPACE)
        return [one.state for one in found] == [ACKNOWLEDGED] and not publishing(person, NAMESPACE)

    wait_until("send what was due", sent)
    own = f"python {sys.version_info[0]}.{sys.version_info[1]}"
    ask = (
        "SELECT pytest, 'python ' || python AS python, count(*) AS people "
        "FROM pytest_census.setup WHERE monthly GROUP BY ALL"
    )
    command = [*METHRICS, "query", str(network.file), ask, "--csv"]

    def answer() -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        return done.stdout + done.stderr

    pytest_version = ".".join(version("pytest").split(".")[:2])
    wait_until("store it", lambda: f"{pytest_version},{own},1" in answer())
