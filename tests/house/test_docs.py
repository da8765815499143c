"""The documentation names every command, code and setting, and its links lead to existing
targets."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import api
import docs
import pages
import pytest
import source

from methrics.aggregate.cli.exit_codes import EXIT_CODES
from methrics.aggregate.cli.root import COMMANDS
from methrics.schema.catalog.fields import FIELD_TYPES, SOURCES
from methrics.schema.catalog.lint import CODES, lint_text
from methrics.schema.catalog.rules import _TYPE_KEYS
from methrics.schema.wire.verdict import Reason

ROOT = source.ROOT
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("schema/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@pytest.fixture(scope="module")
def wanted() -> dict[Path, str]:
    return docs.wanted()


@pytest.mark.shows("MIM-8")
@pytest.mark.parametrize("path", [*docs.PAGES, *docs.SECTIONS], ids=lambda path: path.name)
def test_generated_pages_are_up_to_date(path: Path, wanted: dict[Path, str]) -> None:
    assert path.read_text("utf-8") == wanted[path], "run `make docs`"


def test_the_module_map_lists_exactly_the_modules() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", text("docs/reference/modules.md"), re.MULTILINE)
    assert sorted(rows) == sorted(module.short for module in source.modules())


def test_the_architecture_lists_every_room_and_names_modules_that_exist() -> None:
    page = text("ARCHITECTURE.md")
    for layer in source.LAYERS:
        for floor in source.floors(layer):
            for room in floor:
                assert f"| `{room}` |" in page
    known = {module.name for module in source.modules()}
    named = set(re.findall(r"`(methrics(?:\.\w+)+)`", page))
    assert len(named) > 30
    assert named - known == set()


def test_every_public_name_and_method_is_on_the_api_page() -> None:
    page = text("docs/reference/api.md")
    for front in api.FRONTS:
        for name in api.public_names(front):
            title, node = api.defined(front, name)
            assert f" {title}\n" in page
            assert source.ast.get_docstring(node), f"{title} has no docstring"
            if not isinstance(node, source.ast.ClassDef):
                continue
            for one in api.methods(node):
                assert f"\n#### {name}.{one.name}\n" in page
                assert api.method_doc(node, one), f"{title}.{one.name} has no docstring"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(self, a, /, b: int=1, *c: str, d=2, **e) -> None: ...",
         "f(a, /, b: int = 1, *c: str, d=2, **e) -> None"),
        ("async def f(self, /, *, a: str) -> int: ...", "async f(*, a: str) -> int"),
        ("def f(self): ...", "f()"),
        (f"def f(self, {'a' * 50}: int, {'b' * 50}=0): ...",
         f"f(\n    {'a' * 50}: int,\n    {'b' * 50}=0,\n)"),
    ],
)  # fmt: skip
def test_signatures_on_the_api_page(code: str, expected: str) -> None:
    (node,) = source.ast.parse(code).body
    assert isinstance(node, source.ast.FunctionDef | source.ast.AsyncFunctionDef)
    assert api.signature(node, name="f", bound=True) == expected


def test_every_command_is_documented() -> None:
    page = text("docs/reference/cli.md")
    for name in COMMANDS:
        assert f"## methrics {name}\n" in page
    guides = "".join(path.read_text("utf-8") for path in ROOT.glob("docs/*.md")) + text("README.md")
    for name in COMMANDS:
        assert f"methrics {name}" in guides, f"no guide says what `methrics {name}` is for"


def test_every_exit_code_is_documented() -> None:
    page = text("docs/reference/cli.md")
    for one in EXIT_CODES:
        assert f"| `{one.code}` |" in page


def test_every_reason_and_error_code_is_documented() -> None:
    page = text("docs/reference/errors.md")
    assert set(pages.MEANINGS) == set(Reason)
    for code in [*Reason, *(one.code for one in source.raised())]:
        assert f"| `{code}` |" in page
    spec = text("schema/SPEC.md")
    for reason in Reason:
        assert f"`{reason}`" in spec


def test_the_catalog_in_the_guide_can_be_signed_as_it_stands() -> None:
    page = text("docs/catalog.md")
    block = page.partition("```toml\n")[2].partition("```")[0]
    usable, problems = lint_text(block, int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()))
    assert usable is not None
    assert problems == []
    for key in (*source_keys(), *FIELD_TYPES, *SOURCES):
        assert f"`{key}" in page


def source_keys() -> set[str]:
    """The keys that an author may write in the table of an event type."""
    words = {key for key in _TYPE_KEYS if key not in ("lateness", "fields", "release")}
    return words | {"lateness_days", "delay", "jitter", "every", "max", "window", "max_steps"}


def test_every_lint_code_is_documented() -> None:
    used = {word for one in source.modules() for word in one.strings()}
    codes = {word for word in used if re.fullmatch(r"M\d{3}", word)}
    assert codes == set(CODES)
    for code in codes:
        assert f"| `{code}` |" in text("docs/reference/lint.md")


def test_every_environment_variable_is_documented() -> None:
    missing = pages.variables() - set(pages.VARIABLES)
    assert missing == set(), "say in tools/pages.py what they are for"
    code = "".join(one.path.read_text("utf-8") for one in source.modules()) + text("Makefile")
    for name in pages.VARIABLES:
        assert f"| `{name}` |" in text("docs/reference/settings.md")
        assert name in code, f"{name} is documented and nothing reads it"


def test_every_bound_has_a_unit_and_a_reason() -> None:
    page = text("docs/reference/settings.md")
    tree = next(one for one in source.modules() if one.name == "methrics.schema.wire.limits").tree
    names = [
        node.targets[0].id
        for node in tree.body
        if isinstance(node, source.ast.Assign) and isinstance(node.targets[0], source.ast.Name)
    ]
    assert names
    for name in names:
        assert f"| `{name}` |" in page, f"{name} has no docstring"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text("utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        assert page.exists(), target
        if anchor and page.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
            assert anchor in anchors, target


def test_the_readme_is_short() -> None:
    assert len(text("README.md").splitlines()) <= 120


def test_paths_in_the_documentation_exist() -> None:
    named = re.compile(r"`((?:tests|schema|node|aggregate|docs|tools|benchmarks)/[\w./-]+)`")
    for path in PAGES:
        for name in named.findall(path.read_text("utf-8")):
            assert (ROOT / name).exists(), f"{path.name}: {name}"


@pytest.mark.shows("DEB-3")
def test_every_attack_of_the_threat_model_names_a_test_that_exists() -> None:
    stopped, heading, _ = text("docs/threat-model.md").partition("## How far reports can be linked")
    assert heading
    attacks = [line for line in stopped.splitlines() if re.match(r"\| (?!attack|---)", line)]
    assert len(attacks) > 40
    for line in attacks:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", line)
        assert named, f"no test shows: {line}"
        for file, test in named:
            assert f"def {test}(" in text(file), f"{file}::{test}"
