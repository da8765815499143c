"""The house rules that a program can check: layers, single importers, clocks, dead code."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import source

MODULES = source.modules()
BY_NAME = {module.name: module for module in MODULES}

PUBLIC = {
    "methrics.node.testing",
    "methrics.node.bridges.mixpanel",
    "methrics.node.bridges.otel",
    "methrics.aggregate.demo.sample",
    "methrics.aggregate.notebook.explore",
    "methrics.aggregate.notebook.plots",
}
"""Public modules that no other module imports: apps, analysts and shells use them."""

SENTENCE_MAX = 160


def offenders(package: str, allowed: Iterable[str]) -> list[str]:
    """Modules that import `package` although their name starts with no prefix in `allowed`."""
    prefixes = tuple(allowed)
    return [
        f"{module.name}:{line}"
        for module in MODULES
        for line, name in module.imports()
        if f"{name}.".startswith(f"{package}.") and not module.name.startswith(prefixes)
    ]


def test_the_tree_is_found() -> None:
    assert {module.layer for module in MODULES} == set(source.LAYERS)
    assert len(MODULES) > 10


def test_layers_import_only_downward() -> None:
    rank = {f"methrics.{layer}": number for number, layer in enumerate(source.LAYERS)}
    upward = [
        f"{module.name}:{line} imports {name}"
        for module in MODULES
        for line, name in module.imports()
        if rank.get(".".join(name.split(".")[:2]), -1) > source.LAYERS.index(module.layer)
    ]
    assert upward == []


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("methrics._vendor", ["methrics.node.network.libp2p"]),
        ("multiaddr", ["methrics.node.network.libp2p"]),
        ("duckdb", ["methrics.aggregate.store.duck"]),
        ("pyarrow", ["methrics.aggregate."]),
        ("pandas", ["methrics.aggregate."]),
        # The simulator compares its rates with bare libsodium, in the same run.
        ("nacl", ["methrics.schema.", "methrics.node.", "methrics.aggregate.simulate.signing"]),
        ("methrics_native", ["methrics.schema.wire.signatures"]),
        ("cbor2", ["methrics.schema.wire.codec"]),
        ("opentelemetry", ["methrics.node.bridges.otel"]),
        ("jinja2", ["methrics.node.html.templates"]),
    ],
)
def test_one_place_imports(package: str, allowed: list[str]) -> None:
    assert offenders(package, allowed) == []


@pytest.mark.parametrize("package", ["click", "rich"])
def test_only_cli_modules_import_the_command_line_library(package: str) -> None:
    found = [
        f"{module.name}:{line}"
        for module in MODULES
        for line, name in module.imports()
        if name.split(".")[0] == package and module.path.parent.name != "cli"
    ]
    assert found == []


def test_schema_needs_nothing_but_cbor2_and_pynacl() -> None:
    import sys

    known = sys.stdlib_module_names | {"methrics", "cbor2", "nacl", "__future__"}
    known |= {"methrics_native"}  # optional: another test looks that Python does its work
    found = [
        f"{module.name}:{line} imports {name}"
        for module in MODULES
        if module.layer == "schema"
        for line, name in module.imports()
        if name.split(".")[0] not in known
    ]
    assert found == []


WALL = {
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "monotonic"),
    ("time", "localtime"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}
OWN_GENERATORS = {"Random", "SystemRandom"}


def test_only_the_clock_module_asks_for_the_time_or_a_random_number() -> None:
    found = []
    for module in MODULES:
        if module.name == "methrics.node.clock":
            continue
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            use = (node.value.id, node.attr)
            # The gossip router picks peers with libp2p's own random generator.
            own = use[1] in OWN_GENERATORS or module.name.startswith(
                "methrics.node.network.libp2p."
            )
            if use in WALL or (use[0] == "random" and not own):
                found.append(f"{module.name}:{node.lineno} uses {'.'.join(use)}")
        for line, name in module.imports():
            base, _, last = name.rpartition(".")
            if (base, last) in WALL or (base == "random" and last not in OWN_GENERATORS):
                found.append(f"{module.name}:{line} imports {name}")
    assert found == []


def test_no_package_file_hides_the_other_roots() -> None:
    for layer in source.LAYERS:
        here = {path.name for path in (source.ROOT / layer / "methrics").iterdir()}
        assert here - {"__pycache__"} == {layer} | ({"_vendor"} if layer == "node" else set())


FRONTS = {
    "methrics.schema",
    "methrics.node",
    "methrics.node.publisher",
    "methrics.node.testing",
    "methrics.node.bridges.mixpanel",
    "methrics.node.bridges.otel",
    "methrics.aggregate",
}
"""The modules that apps, their tests and analysts may import."""

INSIDE = {"methrics.node.network.libp2p", "methrics.aggregate.simulate"}
"""Rooms whose package front re-exports names for the rooms above."""


def test_a_package_shows_what_is_public() -> None:
    for module in MODULES:
        if module.path.name != "__init__.py" or module.name in FRONTS | INSIDE:
            continue
        if any(isinstance(node, ast.FunctionDef) for node in module.tree.body):
            continue  # packages with code of their own: `example`, `views`
        assert "__all__: list[str] = []" in module.path.read_text("utf-8"), module.name


def test_every_public_name_can_be_imported() -> None:
    for name in sorted(FRONTS):
        front = importlib.import_module(name)
        assert front.__all__
        for public in front.__all__:
            assert getattr(front, public) is not None
            assert public in dir(front)
        with pytest.raises(AttributeError):
            front.nonsense  # noqa: B018


def test_the_typed_user_uses_every_public_name() -> None:
    """pyright checks that file, so it sees every name that an app or analyst may use."""
    text = (source.ROOT / "tests" / "house" / "typed_user.py").read_text("utf-8")
    for name in sorted(FRONTS):
        module = name.rpartition(".")[2]
        for public in importlib.import_module(name).__all__:
            imported = re.search(rf"\b{public}\b", text.partition("\ndef ")[2])
            assert imported, f"{name}.{public}"
        assert re.search(rf"\b{module}\b", text), name


def test_pyright_covers_every_public_front() -> None:
    covered = tomllib.loads((source.ROOT / "pyproject.toml").read_text("utf-8"))
    roots = [source.ROOT / one for one in covered["tool"]["pyright"]["include"]]
    for name in sorted(FRONTS):
        file = Path(importlib.import_module(name).__file__ or "")
        assert any(file == root or root in file.parents for root in roots), name


def test_guides_and_examples_import_public_names_only() -> None:
    imported = re.compile(r"^\s*(?:from|import) (methrics[\w.]*)", re.MULTILINE)
    docs = source.ROOT / "docs"
    pages = [source.ROOT / "README.md", *docs.glob("*.md"), *docs.glob("examples/**/*.py")]
    found = {
        f"{path.relative_to(source.ROOT)}: {name}"
        for path in pages
        for name in imported.findall(path.read_text("utf-8"))
        if name not in FRONTS
    }
    assert found == set()


def test_tests_mirror_the_rooms() -> None:
    for layer in source.LAYERS:
        rooms = {room for floor in source.floors(layer) for room in floor}
        folders = {path for path in (source.ROOT / "tests" / layer).iterdir() if path.is_dir()}
        names = {path.name for path in folders if any(path.glob("**/test_*.py"))}
        assert names - rooms == set()


def reached() -> set[str]:
    """Modules that are imported, run by name (`-m`, entry points), or public."""
    project = tomllib.loads((source.ROOT / "pyproject.toml").read_text("utf-8"))
    names = {target.partition(":")[0] for target in project["project"]["scripts"].values()} | PUBLIC
    for module in MODULES:
        targets = {name for _, name in module.imports()}
        targets |= {text.partition(":")[0] for text in module.strings()}
        for target in targets:
            for name in (target, target.rpartition(".")[0]):
                if name in BY_NAME and name != module.name:
                    names.add(name)
    return names


def test_no_module_is_dead() -> None:
    entry = ("__init__.py", "__main__.py")
    alone = [module.name for module in MODULES if module.path.name not in entry]
    assert sorted(set(alone) - reached()) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_every_module_says_its_one_job(module: source.Module) -> None:
    sentence = module.says()
    assert sentence, "a module opens with a docstring"
    assert len(sentence) <= SENTENCE_MAX, f"the first paragraph is one sentence: {sentence}"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_modules_and_functions_stay_small(module: source.Module) -> None:
    assert len(module.path.read_text("utf-8").splitlines()) < 450
    long = [
        f"{node.name} ({(node.end_lineno or 0) - node.lineno} lines)"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno > 75
    ]
    assert long == []


PRIVATE_USES = {"_replace", "_recent_disconnects"}
"""Exceptions: the public method of named tuples, and py-libp2p's record of peers that left, from
which it offers no way to remove one peer."""


def private_uses(module: source.Module) -> list[str]:
    """Private attributes that the module uses and none of its own classes or functions has."""
    own: set[str] = set()
    foreign: list[ast.Attribute] = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                own.add(node.attr)
            else:
                foreign.append(node)
    return [
        f"{module.name}:{node.lineno} {ast.unparse(node)}"
        for node in foreign
        if node.attr not in own | PRIVATE_USES
    ]


def test_no_module_uses_private_names_of_another() -> None:
    assert [found for module in MODULES for found in private_uses(module)] == []


def test_product_text_speaks_of_the_product() -> None:
    # Written in two parts, so this file itself passes.
    forbidden = [
        "TO" + "DO",
        "FIX" + "ME",
        "X" + "XX",
        "/tmp/" + "dev",
        "/work" + "/",
        "sub" + "agent",
    ]
    roots = [*source.LAYERS, "tests", "docs", "benchmarks", "tools", "notebooks"]
    files = [path for root in roots for path in (source.ROOT / root).rglob("*") if path.is_file()]
    files += [path for path in source.ROOT.iterdir() if path.suffix in {".md", ".toml"}]
    found = []
    for path in files:
        if path.suffix not in {".py", ".md", ".toml", ".sql", ".ipynb", ".txt", ".json"}:
            continue
        if "_vendor" in path.parts:  # code of others
            continue
        # Skip pictures in notebooks: their base64 may contain any word.
        text = re.sub(r'"image/png": "[^"]*"', "", path.read_text("utf-8"))
        found += [f"{path.relative_to(source.ROOT)}: {word}" for word in forbidden if word in text]
    assert found == []


def test_tests_have_unique_names() -> None:
    names = [path.name for path in (source.ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    assert list((source.ROOT / "tests").rglob("__init__.py")) == []


def test_the_rules_notice_a_breach(tmp_path: Path) -> None:
    path = tmp_path / "breach.py"
    path.write_text(
        "def f():\n    from methrics.node import x\n    from . import y\n    x._hidden\n"
    )
    breach = source.Module("methrics.schema.breach", "schema", path, ast.parse(path.read_text()))
    assert list(breach.imports()) == [(2, "methrics.node.x"), (3, "methrics.schema.y")]
    assert private_uses(breach) == ["methrics.schema.breach:4 x._hidden"]
