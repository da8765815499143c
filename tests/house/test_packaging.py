"""Packaging: the wheel contains the three source roots, and the base install needs two
libraries."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import setup as set_up
import source
from tests import fresh, needed
from tests.needed import need

ROOT = source.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"click", "rich", "trio", "google", "multiaddr", "duckdb",
                                      "pyarrow", "pandas", "anyio", "numpy",
                                      "jinja2", "markupsafe"}:
            raise ModuleNotFoundError(f"no {name} here", name=name)
sys.meta_path.insert(0, Blocker())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKER + code],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_schema_works_with_the_base_install() -> None:
    names = [one.name for one in source.modules() if one.layer == "schema"]
    names = [name for name in names if not name.endswith("__main__")]
    done = python(f"import importlib\nfor name in {names!r}: importlib.import_module(name)")
    assert done.returncode == 0, done.stderr


def test_an_app_works_with_the_base_install() -> None:
    done = python(
        "import methrics.node\n"
        "from methrics.node.clock import Clock\n"
        "from methrics.node.consent.ledger import grant\n"
        "from methrics.node.paths import user_paths\n"
        "from methrics.schema.example import example_bytes\n"
        "recorder = methrics.node.open(example_bytes(), strict=True, publisher='none')\n"
        "assert not recorder.record('heartbeat', os='linux')\n"
        "grant(user_paths(), recorder.namespace, ['heartbeat'], now=Clock().now())\n"
        "assert recorder.record('heartbeat', **recorder.facts('heartbeat'))\n"
        "mine = recorder.mine()\n"
        "assert [one.type for one in mine.preview()] == ['heartbeat']\n"
        "assert mine.reports() == []\n"
        "assert mine.export('csv')\n"
        "assert mine.withdraw().deleted == 1\n"
        "assert mine.erase().dropped == 0\n"
        "assert mine.reset() == [recorder.namespace]\n"
        "assert mine.burn().receipts == 0\n"
        "assert not recorder.record('heartbeat')\n"
        "recorder.close()\n"
    )
    assert done.returncode == 0, done.stderr


def test_the_command_says_what_is_missing() -> None:
    done = python("from methrics.aggregate.cli.main import main; sys.exit(main(['query', 'x']))")
    assert done.returncode == 3
    assert done.stderr == (
        "methrics: this command needs click (install it with: pip install 'methrics[node]')\n"
    )


def test_importing_the_embedded_client_is_light() -> None:
    code = (
        "import sys, methrics.node, methrics.node.record.recorder\n"
        "heavy = {'methrics._vendor', 'trio', 'nacl', 'cbor2', 'duckdb', 'click', 'asyncio',"
        " 'sqlite3', 'opentelemetry'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(eval(done.stdout)) <= {"cbor2"}


def test_the_base_install_is_two_packages() -> None:
    names = [re.split(r"[<>=!~ ]", line)[0] for line in PROJECT["project"]["dependencies"]]
    assert names == ["cbor2", "pynacl"]


def test_the_set_up_reads_the_groups() -> None:
    lines = set_up.requirements(frozenset({"test", "lint"}))
    assert not any(line.startswith(("selenium", "scikit-learn", "opendp")) for line in lines)
    assert any(line.startswith("pytest>") for line in lines)
    assert any(line.startswith("ruff>") for line in lines)
    declared = set(PROJECT["project"]["optional-dependencies"])
    for extras, groups in set_up.PURPOSES.values():
        assert extras <= declared
        assert groups <= set(PROJECT["dependency-groups"])


def test_the_set_up_installs_once_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[set[str], set[str]]] = []

    def install(extras: frozenset[str], groups: frozenset[str]) -> None:
        asked.append((set(extras), set(groups)))

    monkeypatch.setattr(set_up, "STAMP", tmp_path / "setup.json")
    monkeypatch.setattr(set_up, "make_venv", lambda python: None)
    monkeypatch.setattr(set_up, "install", install)
    monkeypatch.setattr(set_up, "build_native", lambda: None)
    for purpose in ("demo", "demo", "test-fast", "demo", "test-fast"):
        set_up.prepare(purpose)
    assert asked == [({"aggregate"}, set()), ({"aggregate"}, {"test"})]
    monkeypatch.setattr(set_up, "fingerprint", lambda: "another")
    set_up.prepare("demo")
    assert asked[2:] == [({"aggregate"}, {"test"})]


def test_the_set_up_builds_the_verifier_in_c_if_it_can_and_never_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, ...]] = []
    builds = True

    def pip(*arguments: str) -> tuple[bool, str]:
        asked.append(arguments)
        return builds, "error: Python.h: no such file"

    monkeypatch.setattr(set_up, "pip", pip)
    for compiler in ("/bin/false", "/no/such/compiler"):
        monkeypatch.setenv("CC", compiler)
        set_up.build_native()
        assert "no C compiler" in capsys.readouterr().err
    assert asked == []
    monkeypatch.setenv("CC", "/bin/true")
    set_up.build_native()
    assert "built the verifier in C" in capsys.readouterr().err
    builds = False
    set_up.build_native()
    assert "Python does its work" in capsys.readouterr().err
    assert asked == [("--no-deps", str(ROOT / "native"))] * 2


@pytest.mark.slow
def test_the_wheel_holds_all_three_roots(tmp_path: Path) -> None:
    wheel = fresh.build_wheel(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith("METADATA")]
        assert f"Version: {PROJECT['project']['version']}" in archive.read(metadata).decode()
    for module in source.modules():
        assert str(module.path.relative_to(ROOT / module.layer)) in names
    for file in ("schema/example/example.cbor", "schema/py.typed", "node/py.typed"):
        assert f"methrics/{file}" in names
    assert any(name.startswith("methrics/aggregate/read/views/") for name in names)
    for pattern in ("*/templates/*", "*.css"):
        for path in (ROOT / "node").rglob(pattern):
            assert str(path.relative_to(ROOT / "node")) in names
    assert "methrics/_vendor/libp2p/LICENSE-MIT" in names
    assert "methrics/__init__.py" not in names
    assert not [name for name in names if name.startswith(("tests", "docs", "tools", "native"))]


def test_all_tests_install_every_group_but_that_of_the_linters() -> None:
    groups = set(PROJECT["dependency-groups"])
    assert set_up.PURPOSES["test"][1] == groups - {"lint"}
    assert set_up.PURPOSES["test-fast"][1] == {"test"}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target, purpose in (("test", "test"), ("test-fast", "test-fast"), ("lint", "lint")):
        assert re.search(rf"^{target}:.*\n\t@\$\(SETUP\) {purpose}\n", makefile, re.MULTILINE)


def test_ci_fails_a_test_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needed, "IN_CI", True)
    with pytest.raises(ModuleNotFoundError):
        need("no_such_package_of_ours")
    monkeypatch.setattr(needed, "IN_CI", False)
    with pytest.raises(pytest.skip.Exception, match="make test"):
        need("no_such_package_of_ours")
    assert need("json").dumps([]) == "[]"


def test_no_test_skips_by_itself_for_a_missing_package() -> None:
    """`tests.needed.need` alone may: it fails in CI. fcntl is part of Python, on some systems."""
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "tests").rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if "pytest.importorskip(" in line.replace("pytest.importorskip(" + '"fcntl")', "")
    ]
    assert [line for line in found if not line.startswith("tests/house/test_packaging.py")] == []
    assert "export CI=true" in (ROOT / ".ci" / "run").read_text("utf-8")
