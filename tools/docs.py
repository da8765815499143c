"""Generates the documentation that follows from the code: `python tools/docs.py --write|--check`.

A note marks each generated page or section. `--check` writes nothing and lists the files that are
out of date (exit code 1). The tests in tests/house make the same comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import api
import pages
import requirements
import scale

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"

PAGES: dict[Path, Callable[[], str]] = {
    REFERENCE / "api.md": api.page,
    REFERENCE / "cli.md": pages.cli,
    REFERENCE / "errors.md": pages.errors,
    REFERENCE / "lint.md": pages.lint,
    REFERENCE / "modules.md": pages.modules,
    REFERENCE / "settings.md": pages.settings,
    REFERENCE / "events.md": lambda: pages.policy("data-dictionary.md"),
    REFERENCE / "events.html": lambda: pages.policy("data-dictionary.html"),
    REFERENCE / "privacy-notice.md": lambda: pages.policy("privacy-notice.md"),
    REFERENCE / "privacy-notice.html": lambda: pages.policy("privacy-notice.html"),
    ROOT / "docs" / "requirements.md": requirements.page,
}

SECTIONS: dict[Path, Callable[[], str]] = {
    ROOT / "ARCHITECTURE.md": pages.rooms,
    ROOT / "docs" / "consent.md": pages.first_screen,
    ROOT / "docs" / "scale.md": scale.section,
}

BEGIN, END = "<!-- generated: make docs -->\n", "<!-- end of generated -->"


def with_section(text: str, section: str) -> str:
    """`text` with the part between the two marks replaced."""
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"docs: the marks {BEGIN.strip()!r} and {END!r} are missing")
    return f"{before}{BEGIN}\n{section.strip()}\n\n{mark}{after}"


def wanted() -> dict[Path, str]:
    """Every generated file with the text it should hold."""
    texts = {path: make().rstrip() + "\n" for path, make in PAGES.items()}
    for path, make in SECTIONS.items():
        texts[path] = with_section(path.read_text("utf-8"), make())
    return texts


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 if all files are up to date or were written, 1 if `--check` found a difference
    or a requirement is marked as met without a test, 2 for wrong use."""
    if list(arguments) not in (["--write"], ["--check"]):
        print("usage: python tools/docs.py --write|--check", file=sys.stderr)
        return 2
    try:
        texts = wanted()
    except requirements.RequirementError as error:
        print(f"docs: {error}", file=sys.stderr)
        return 1
    stale = []
    for path, text in texts.items():
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(path.relative_to(ROOT))
            if arguments[0] == "--write":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
    for name in stale:
        print(f"{'wrote' if arguments[0] == '--write' else 'out of date (make docs)'}: {name}")
    return 1 if stale and arguments[0] == "--check" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
