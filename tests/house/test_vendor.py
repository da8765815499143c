"""The copy of libp2p is what `tools/vendor.py` writes, and its requirements are declared."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib

import pytest
import source
import vendor
from tests import fresh


def declared() -> set[str]:
    """The distributions of the base install and of the extra `node`, which contains `http`."""
    project = tomllib.loads((source.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + extras["http"] + extras["node"]
    return {re.split(r"[<>=!~ ]", line)[0].lower().replace("_", "-") for line in lines}


def test_each_package_that_the_copy_imports_is_required() -> None:
    found = set()
    for path in vendor.OUT.rglob("*.py"):
        for one in vendor.imports("", str(path), path.read_text("utf-8")):
            relative = isinstance(one.node, ast.ImportFrom) and one.node.level
            if not relative and not one.typing:
                found.add(one.module.partition(".")[0])
    found -= sys.stdlib_module_names | {"methrics"}
    owners = importlib.metadata.packages_distributions()
    own = declared()
    missing = {name for name in found if not own & {one.lower() for one in owners.get(name, ())}}
    assert found > {"trio", "google", "multiaddr"}
    # One is imported on Python 3.10, the other for WebSocket, inside a function.
    assert missing == {"exceptiongroup", "trio_websocket"}


def wheel(**files: str) -> vendor.Wheel:
    """A wheel with these files; `__` in a name stands for `/`."""
    paths = {name.replace("__", "/") + ".py": code.encode() for name, code in files.items()}
    return vendor.Wheel({"libp2p/__init__.py": b"import libp2p.everything\n", **paths})


def test_what_is_imported_is_copied_and_renamed() -> None:
    copy = vendor.Copy(
        wheel(
            libp2p__a='"""A."""\nfrom libp2p.b import (\n    c,\n)\n',
            libp2p__b='import logging\nc = logging.getLogger("libp2p.b")\n',
            libp2p__other="",
        )
    )
    copy.take("libp2p.a", "x")
    assert copy.modules == {"libp2p", "libp2p.a", "libp2p.b"}
    assert copy.rewrite("libp2p") == ""
    assert f"from {vendor.NEW}.b import (\n    c,\n)" in copy.rewrite("libp2p.a")
    assert copy.rewrite("libp2p.b").endswith('getLogger("methrics._vendor.libp2p.b")\n')


def test_a_name_of_a_part_that_is_left_out_becomes_a_stand_in() -> None:
    copy = vendor.Copy(
        wheel(
            libp2p__a='"""A."""\nfrom __future__ import annotations\n'
            "from libp2p.discovery.mdns import (\n    Found as F,\n)\nimport prometheus_client\n",
            libp2p__discovery__mdns="",
        )
    )
    copy.take("libp2p.a", "x")
    assert copy.modules == {"libp2p", "libp2p.a"}
    assert copy.rewrite("libp2p.a") == (
        '"""A."""\nfrom __future__ import annotations\n'
        f"from {vendor.NEW}._absent import absent\n"
        'F = absent("libp2p.discovery.mdns.Found")\n'
        'prometheus_client = absent("prometheus_client")\n'
    )


@pytest.mark.slow
def test_the_copy_is_what_the_script_writes() -> None:
    command = [sys.executable, str(source.ROOT / "tools" / "vendor.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    fresh.skip_offline(done.stderr)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
