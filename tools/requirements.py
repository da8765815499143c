"""Collects the requirements, and the tests and benchmarks that show them; runs none of them.

`docs/requirements.toml` states each requirement and how far it is met. A test names the
requirements that it shows with `@pytest.mark.shows("MARS-5")`, on a function, on a class or, as
`pytestmark`, for a module. A benchmark uses `SHOWS = ("MARS-14",)`. `page()` combines both into
docs/requirements.md. It refuses a requirement marked as met or partly met if no test or benchmark
shows it.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FAMILIES = {
    "MARS": (16, "A message of the day that carries a usage report"),
    "METH": (20, "Open metrics without an owner"),
    "MIM": (9, "Metrics of a server that operators install"),
    "DEB": (10, "What people object to in telemetry of free software"),
    "KPI": (15, "Measuring one interaction"),
    "NEW": (8, "Features that none of the earlier systems has"),
}
"""Prefix of an id -> the number of its requirements, and their heading."""

IDS = tuple(f"{name}-{n}" for name, (most, _) in FAMILIES.items() for n in range(1, most + 1))
"""The ids of all requirements, in the order of the page."""

MET, PARTLY, NOT_YET = "met", "partly", "not yet"
STATUSES = (MET, PARTLY, NOT_YET)


class RequirementError(Exception):
    """The file of requirements, or a mark in a test or benchmark, is wrong."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One requirement. `missing`: a sentence about the work left to do; empty if met."""

    id: str
    promise: str
    status: str
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One test, test module or benchmark that shows requirements. `path`: relative to the root.
    `name`: the function or class, empty for a whole file."""

    path: str
    name: str
    ids: tuple[str, ...]


def read(text: str) -> dict[str, Requirement]:
    """The requirements of a TOML text, by id, in the order of IDS.

    Raises RequirementError for an id that is missing or unknown, an unknown key or status, an
    empty sentence, a `missing` on a met requirement, or no `missing` on any other.
    """
    tables = tomllib.loads(text)
    missing, unknown = [one for one in IDS if one not in tables], sorted(set(tables) - set(IDS))
    if missing or unknown:
        raise RequirementError(f"missing ids: {missing}; unknown ids: {unknown}")
    found = {}
    for name in IDS:
        table = tables[name]
        if not table.keys() <= {"promise", "status", "missing"}:
            raise RequirementError(f"{name}: unknown keys {sorted(table)}")
        one = Requirement(
            id=name,
            promise=table.get("promise", ""),
            status=table.get("status", ""),
            missing=table.get("missing", ""),
        )
        if one.status not in STATUSES:
            raise RequirementError(f"{name}: the status {one.status!r} is none of {STATUSES}")
        if not one.promise.endswith("."):
            raise RequirementError(f"{name}: the promise is no sentence")
        if (one.status == MET) != (not one.missing):
            raise RequirementError(f"{name}: say what is missing if it is not met, and only then")
        found[name] = one
    return found


def proofs(root: Path = ROOT) -> list[Proof]:
    """All tests and benchmarks under `root` that show requirements, by path and line."""
    found: list[Proof] = []
    for path in sorted((root / "tests").rglob("*.py")):
        found += in_test(path.relative_to(root).as_posix(), path.read_text("utf-8"))
    for path in sorted((root / "benchmarks").glob("*.py")):
        found += in_bench(path.relative_to(root).as_posix(), path.read_text("utf-8"))
    return found


def in_test(path: str, text: str) -> list[Proof]:
    """The proofs of one test file. Raises RequirementError for a mark that pytest applies to no
    test, that is combined with `skip` or `xfail`, or whose ids are not string literals."""
    tree = ast.parse(text)
    found, read_marks = [], set[ast.Call]()
    for name, marks, collected in _marked(tree):
        shown = [mark for mark in marks if _is_mark(mark, "shows")]
        if not shown:
            continue
        place = f"{path}::{name}" if name else path
        if not collected:
            raise RequirementError(f"{place}: this is no test, so the mark shows nothing")
        if any(_is_mark(mark, word) for mark in marks for word in ("skip", "xfail")):
            raise RequirementError(f"{place}: a test that does not run or may fail shows nothing")
        ids: list[str] = []
        for mark in shown:
            if not isinstance(mark, ast.Call):
                raise RequirementError(f"{place}: the mark names no requirement")
            read_marks.add(mark)
            ids += _ids(place, mark.args, mark.keywords)
        found.append(Proof(path=path, name=name, ids=tuple(ids)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_mark(node, "shows") and node not in read_marks:
            raise RequirementError(f"{path}:{node.lineno}: put the mark on a test or `pytestmark`")
    return found


def in_bench(path: str, text: str) -> list[Proof]:
    """The proof of one benchmark, from its constant SHOWS. Raises RequirementError for wrong
    ids."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "SHOWS" for target in node.targets
        ):
            if not isinstance(node.value, ast.Tuple):
                raise RequirementError(f"{path}: SHOWS is no tuple of ids")
            return [Proof(path=path, name="", ids=tuple(_ids(path, node.value.elts, [])))]
    return []


def _marked(tree: ast.Module) -> Iterator[tuple[str, list[ast.expr], bool]]:
    """(name, marks, whether pytest collects it) for the module and each function and class."""
    marks: list[ast.expr] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets
        ):
            marks += node.value.elts if isinstance(node.value, ast.List) else [node.value]
    defined = [node for node in ast.walk(tree) if isinstance(node, _DEFINITIONS)]
    yield "", marks, any(_collected(node) for node in defined)
    for node in defined:
        yield node.name, list(node.decorator_list), _collected(node)


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _collected(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return node.name.startswith("Test" if isinstance(node, ast.ClassDef) else "test_")


def _is_mark(node: ast.expr, name: str) -> bool:
    """Whether `node` is `pytest.mark.<name>`, with or without a call."""
    function = node.func if isinstance(node, ast.Call) else node
    return ast.unparse(function) in (f"pytest.mark.{name}", f"mark.{name}")


def _ids(place: str, values: Sequence[ast.expr], keywords: Sequence[ast.keyword]) -> Iterator[str]:
    if not values or keywords:
        raise RequirementError(f"{place}: the mark names no requirement")
    for value in values:
        if not isinstance(value, ast.Constant) or value.value not in IDS:
            raise RequirementError(f"{place}: {ast.unparse(value)} is no id of a requirement")
        yield str(value.value)


def by_id(found: Iterable[Proof]) -> dict[str, list[Proof]]:
    """Requirement id -> its proofs, for each requirement that has one."""
    shown: defaultdict[str, list[Proof]] = defaultdict(list)
    for proof in found:
        for name in dict.fromkeys(proof.ids):
            shown[name].append(proof)
    return dict(shown)


def problems(
    requirements: Mapping[str, Requirement], shown: Mapping[str, Sequence[Proof]]
) -> list[str]:
    """One line for each requirement whose status and proofs contradict each other."""
    found = []
    for name, one in requirements.items():
        if one.status == NOT_YET and shown.get(name):
            places = ", ".join(f"{proof.path} {proof.name}".strip() for proof in shown[name])
            found.append(f"{name} is not yet met, and a mark says that it is shown: {places}")
        if one.status != NOT_YET and not shown.get(name):
            found.append(f"{name} is said to be {one.status}, and no test or bench shows it")
    return found


HEAD = """# Requirements and their tests

This page is generated by `make docs` from [requirements.toml](requirements.toml) and from the marks
in tests and benches; change those, not the page.

Five earlier systems and debates define this project: the usage reports that Mailpile planned
(MARS), the open metrics discussed at Status (METH), the system metrics of MongooseIM (MIM), the
debates on tracking in Django and Debian (DEB) and Mozilla's back end for Persona (KPI). NEW stands
for features that none of them has. Each id stands for one promise or one criticism.

- **met**: the tests and benches named under it show all of the sentence.
- **partly**: they show a part; the page says what is missing.
- **not yet**: no test or bench shows it.

A test names what it shows with `@pytest.mark.shows("MARS-5")`. `make docs` and `make test` fail if
a requirement is said to be met, or partly met, and no test or bench shows it.
"""


def page(root: Path = ROOT) -> str:
    """The text of docs/requirements.md. Raises RequirementError if a claim has no proof."""
    requirements = read((root / "docs" / "requirements.toml").read_text("utf-8"))
    shown = by_id(proofs(root))
    wrong = problems(requirements, shown)
    if wrong:
        raise RequirementError("\n".join(wrong))
    parts = [HEAD, _summary(requirements)]
    for family, (_, heading) in FAMILIES.items():
        parts.append(f"## {family}: {heading}\n")
        of_family = [one for one in requirements.values() if one.id.startswith(f"{family}-")]
        parts += [_entry(one, shown.get(one.id, ())) for one in of_family]
    return "\n".join(parts)


def _summary(requirements: Mapping[str, Requirement]) -> str:
    lines = ["| status | number | requirements |", "| --- | --- | --- |"]
    for status in STATUSES:
        ids = [one.id for one in requirements.values() if one.status == status]
        links = " ".join(f"[{name}](#{name.lower()})" for name in ids)
        lines.append(f"| {status} | {len(ids)} | {links} |")
    return "\n".join([*lines, ""])


def _entry(one: Requirement, shown: Sequence[Proof]) -> str:
    lines = [f"### {one.id}\n", f"{one.promise}\n", f"**{one.status}**"]
    if one.missing:
        lines[-1] += f": {one.missing}"
    if shown:
        lines.append("")
    lines += [f"- [{proof.path}](../{proof.path}) {_code(proof.name)}".rstrip() for proof in shown]
    return "\n".join([*lines, ""])


def _code(name: str) -> str:
    return f"`{name}`" if name else ""
