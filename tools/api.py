"""Generates docs/reference/api.md: the public names of each package front, with their docstrings.

Everything is read from the source and nothing is imported. A docstring becomes Markdown as it
stands: its names are in backticks and its examples are indented.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

import source

FRONTS = (
    "methrics.node",
    "methrics.node.publisher",
    "methrics.node.testing",
    "methrics.node.bridges.mixpanel",
    "methrics.node.bridges.otel",
)
"""The package fronts of the page, in its order. Their `__all__` names what is public."""

RETURNED = (
    ("methrics.node.mine.own", "OwnReport"),
    ("methrics.node.mine.preview", "Leaving"),
    ("methrics.node.mine.mine", "Withdrawn"),
    ("methrics.node.mine.erasing", "Erased"),
    ("methrics.node.mine.reset", "Burned"),
    ("methrics.node.consent.questions", "Question"),
    ("methrics.node.consent.wording", "Sheet"),
)
"""Classes of the values that public methods return: (module, class)."""

MADE_BY = {
    "Recorder": "methrics.node.open",
    "Asking": "Recorder.asking",
    "Mine": "Recorder.mine",
    "Sequence": "Recorder.sequence",
}
"""Classes that an app does not make itself, and what makes them."""

BEGIN = ("open", "Recorder")

INTERNAL = {"Recorder.inside", "Recorder.fail", "Sequence.begin"}
"""Methods without an underscore that are there for this package alone."""

WIDTH = 88

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def page() -> str:
    """The whole page."""
    parts = [
        "# The API\n",
        "`make docs` generates this page from docstrings; change the code, not the page.\n",
        "Public are the names on this page, and those of `methrics.schema` and "
        "`methrics.aggregate`. Every other module is internal and may change. Times are Unix "
        "seconds, durations are seconds. No method of a recorder raises an error into the app; "
        "other methods raise `methrics.schema.errors.MethricsError`, whose `code` is listed in "
        "[errors.md](errors.md).\n",
    ]
    for front in FRONTS:
        parts.append(f"## {front}\n\n{_doc(source.named(front).tree)}\n")
        parts += [one for name in public_names(front) for one in _entry(*defined(front, name))]
    parts.append(
        "## Values that these objects return\n\nAn app gets them from the methods above and does "
        "not make them.\n"
    )
    for module, name in RETURNED:
        parts += _entry(name, _definition(module, name))
    return "\n".join(parts)


def public_names(front: str) -> list[str]:
    """The names in `__all__` of a package front, those first with which an app begins."""
    for node in source.named(front).tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return sorted(
                names, key=lambda name: BEGIN.index(name) if name in BEGIN else len(BEGIN)
            )
    raise LookupError(f"{front} has no __all__")


def defined(front: str, name: str) -> tuple[str, Definition]:
    """The public dotted name, and the definition, which may be in another module."""
    homes = {
        one.rpartition(".")[2]: one.rpartition(".")[0]
        for _, one in source.named(front).imports()
        if one.startswith("methrics.")
    }
    return f"{front}.{name}", _definition(homes.get(name, front), name)


def methods(owner: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The public methods and properties that a class defines itself, in its order."""
    for node in owner.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not (
            node.name.startswith("_") or f"{owner.name}.{node.name}" in INTERNAL
        ):
            yield node


def method_doc(owner: ast.ClassDef, method: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The docstring of a method, or else that of the same method of the nearest base class."""
    if own := _doc(method):
        return own
    bases = {ast.unparse(base) for base in owner.bases}
    for module in source.modules():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and node.name in bases:
                own = next((_doc(one) for one in methods(node) if one.name == method.name), "")
                return own or method_doc(node, method)
    return ""


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef, *, name: str, bound: bool) -> str:
    """A call with its types and defaults; one argument on each line if it is long. `bound`: leave
    out the first argument, the object itself."""
    words = _arguments(node.args)
    if bound:
        words = words[1:]
        words = words[1:] if words[:1] == ["/"] else words
    before = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    after = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{before}{name}({', '.join(words)}){after}"
    if len(line) <= WIDTH:
        return line
    lines = "".join(f"    {word},\n" for word in words)
    return f"{before}{name}(\n{lines}){after}"


def _arguments(found: ast.arguments) -> list[str]:
    placed = [*found.posonlyargs, *found.args]
    defaults: list[ast.expr | None] = [None] * (len(placed) - len(found.defaults))
    words = [_argument(*one) for one in zip(placed, [*defaults, *found.defaults], strict=True)]
    if found.posonlyargs:
        words.insert(len(found.posonlyargs), "/")
    if found.vararg:
        words.append(f"*{_argument(found.vararg, None)}")
    elif found.kwonlyargs:
        words.append("*")
    words += [_argument(*one) for one in zip(found.kwonlyargs, found.kw_defaults, strict=True)]
    return [*words, f"**{_argument(found.kwarg, None)}"] if found.kwarg else words


def _argument(found: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(found.annotation)}" if found.annotation else ""
    if default is None:
        return found.arg + kind
    equals = " = " if kind else "="
    return f"{found.arg}{kind}{equals}{ast.unparse(default)}"


def _definition(module: str, name: str) -> Definition:
    for node in source.named(module).tree.body:
        if isinstance(node, Definition) and node.name == name:
            return node
    raise LookupError(f"{module} does not define {name}")


def _entry(title: str, node: Definition) -> Iterator[str]:
    name = node.name
    if not isinstance(node, ast.ClassDef):
        yield f"### {title}\n\n{_code(signature(node, name=title, bound=False))}\n{_doc(node)}\n"
        return
    yield f"### class {title}\n\n{_doc(node)}\n"
    if name in MADE_BY:
        yield f"`{MADE_BY[name]}` returns one.\n"
    elif made := _constructor(node):
        yield _code(signature(made, name=name, bound=True))
    if fields := list(_fields(node)):
        yield "".join(fields)
    for one in methods(node):
        says = method_doc(node, one)
        if any(ast.unparse(mark) == "property" for mark in one.decorator_list):
            kind = ast.unparse(one.returns) if one.returns else ""
            yield f"#### {name}.{one.name}\n\n{_code(f'{one.name}: {kind}')}\n{says}\n"
        else:
            shown = signature(one, name=one.name, bound=True)
            yield f"#### {name}.{one.name}\n\n{_code(shown)}\n{says}\n"


def _constructor(owner: ast.ClassDef) -> ast.FunctionDef | None:
    for node in owner.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return node
    return None


def _fields(owner: ast.ClassDef) -> Iterator[str]:
    """A list entry for each public attribute that the class body declares, with its default and the
    docstring after it."""
    for one in source.fields_of(owner.name, owner.body):
        if one.name.startswith("_") or not one.kind:
            continue
        plain = one.default != "required" and not one.default.startswith("field(")
        default = f" = {one.default}" if plain else ""
        says = f": {one.says}" if one.says else ""
        yield f"- `{one.name}: {one.kind}{default}`{says}\n"


def _doc(node: ast.Module | Definition) -> str:
    return inspect.cleandoc(ast.get_docstring(node) or "")


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"
