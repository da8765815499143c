"""Reads the source tree for the documentation and the house tests, without importing it."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("schema", "node", "aggregate")
"""The source roots, lowest first: each may import itself and those before it."""


@dataclass(frozen=True)
class Module:
    """One source file. `name` is dotted and full, `layer` one of LAYERS."""

    name: str
    layer: str
    path: Path
    tree: ast.Module

    @property
    def short(self) -> str:
        """The name within its layer, such as `relay.mixer`; `(package)` for the layer itself."""
        return self.name.removeprefix(f"methrics.{self.layer}").removeprefix(".") or "(package)"

    @property
    def package(self) -> str:
        """The package from which relative imports start."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def says(self) -> str:
        """The first sentence of the docstring, on one line."""
        text = " ".join((ast.get_docstring(self.tree) or "").split("\n\n")[0].split())
        return text.rstrip(".")

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, dotted name) of all imports at any depth; `from a import b` gives a.b."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parent = ".".join(self.package.split(".")[: 1 - node.level or None])
                    base = f"{parent}.{base}".rstrip(".")
                for alias in node.names:
                    yield node.lineno, f"{base}.{alias.name}"

    def strings(self) -> Iterator[str]:
        """All string constants."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@cache
def modules() -> tuple[Module, ...]:
    """All modules of the three roots, by layer and name."""
    found = []
    for layer in LAYERS:
        root = ROOT / layer
        for path in sorted((root / "methrics" / layer).rglob("*.py")):
            parts = list(path.relative_to(root).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            found.append(Module(".".join(parts), layer, path, ast.parse(path.read_text("utf-8"))))
    return tuple(found)


def named(name: str) -> Module:
    """The module or package with this full dotted name."""
    return next(one for one in modules() if one.name == name)


def floors(layer: str) -> list[list[str]]:
    """The rooms of one package by floor, highest first, from the import-linter contract."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = [
        one
        for one in project["tool"]["importlinter"]["contracts"]
        if one.get("containers") == [f"methrics.{layer}"]
    ]
    return [[name.strip() for name in line.split("|")] for line in contract["layers"]]


@dataclass(frozen=True)
class Raised:
    """One `SomeError("code", "message", ...)` in the source."""

    code: str
    error: str
    message: str
    module: str


ERRORS = {
    "MethricsError",
    "LocalError",
    "ConfigError",
    "CatalogError",
    "StoreError",
    "RemoteError",
    "UnreachableError",
}


def raised() -> list[Raised]:
    """All errors of this project with a literal code, by code."""
    found = []
    for module in modules():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            function = node.func
            name = getattr(function, "attr", "") or getattr(function, "id", "")
            code = node.args[0]
            if name in ERRORS and isinstance(code, ast.Constant) and isinstance(code.value, str):
                message = literal(node.args[1]) if len(node.args) > 1 else ""
                found.append(Raised(code.value, name, message, module.name))
    return sorted(found, key=lambda one: (one.code, one.module, one.message))


def literal(node: ast.expr) -> str:
    """A string expression as text, with `{…}` in place of values."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "…"
            for part in node.values
        )
    if isinstance(node, ast.BinOp):
        return literal(node.left) + literal(node.right)
    return "…"


class Setting(NamedTuple):
    """One field of a settings class, or one named limit."""

    owner: str
    name: str
    kind: str
    default: str
    says: str


def settings_classes() -> dict[str, tuple[str, list[Setting]]]:
    """All classes named …Settings or …Limits, with the first line of the docstring and the
    fields."""
    found: dict[str, tuple[str, list[Setting]]] = {}
    for module in modules():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Settings", "Limits")):
                owner = f"{module.name}.{node.name}"
                says = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
                found[owner] = (says, list(fields_of(owner, node.body)))
    return found


def bounds(name: str) -> list[Setting]:
    """The documented constants of one module."""
    module = next(one for one in modules() if one.name == name)
    return list(fields_of(name, module.tree.body))


def fields_of(owner: str, body: list[ast.stmt]) -> Iterator[Setting]:
    """Assignments with the docstring after them; consecutive assignments share one docstring."""
    for position, node in enumerate(body):
        following = [one for one in body[position + 1 :] if not isinstance(one, ast.AnnAssign)]
        says = ""
        if following and isinstance(following[0], ast.Expr):
            value = following[0].value
            says = " ".join(str(value.value).split()) if isinstance(value, ast.Constant) else ""
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            default = ast.unparse(node.value) if node.value else "required"
            yield Setting(owner, node.target.id, ast.unparse(node.annotation), default, says)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and says:
            yield Setting(owner, node.targets[0].id, "", ast.unparse(node.value), says)
