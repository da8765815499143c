"""The generated pages of the documentation, each one function that returns Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import source

from methrics.aggregate.cli.exit_codes import EXIT_CODES
from methrics.aggregate.cli.root import root
from methrics.schema.wire.verdict import Decision, Reason

NOTE = "This page is generated from the code by `make docs`; change the code, not the page.\n"

MEANINGS = {
    Reason.OK: "The item is well formed, signed, allowed by its catalog, in time, and new.",
    Reason.OVERSIZE: "The item has more bytes than its kind may have. It is not parsed.",
    Reason.MALFORMED: "The bytes are not the deterministic encoding of a known structure.",
    Reason.BAD_KEY: "The key is not a usable Ed25519 public key.",
    Reason.FORGED: "The signature does not verify.",
    Reason.OFF_SCHEMA: "The item has a field, value or shape that the catalog does not declare.",
    Reason.EMPTY: "The event type has fields, but the report has no value.",
    Reason.UNROUNDED: "The time is finer than the type's resolution.",
    Reason.NO_WORK: "The proof of work that the type requires is missing or too small.",
    Reason.FOREIGN: "The item belongs to another namespace than the topic it came on.",
    Reason.DUPLICATE: "The same item arrived before.",
    Reason.EARLY: "The item's time is further in the future than clocks may differ.",
    Reason.LATE: "The report's time is further back than its type allows for live reports.",
    Reason.UNKNOWN_KIND: "This release does not know the kind or the version of the item.",
    Reason.UNKNOWN_CATALOG: "The item waits until its catalog arrives.",
    Reason.UNLISTED: "No record of its namespace that this node has lists the catalog at its time.",
    Reason.ERASED: "The report's author has erased it.",
    Reason.REVOKED: "Its namespace has withdrawn the event type.",
    Reason.EXPIRED: "Its event type has expired.",
    Reason.RETENTION: "It is of the past, and its catalog allows to keep it no longer.",
    Reason.QUOTA: "This peer or topic has sent more than it may for now; try later.",
}

VARIABLES = {
    "METHRICS": "`on` (or `1`, `yes`, `true`, `y`, `t`, `enable`, `enabled`): CI does not switch "
    "it off; every other reason still does. Any other value: nothing is recorded or sent, whatever "
    "was allowed.",
    "METHRICS_HOME": "One folder for data and settings, instead of the platform's usual folders. A "
    "relative one is looked up in the working directory once, at the start.",
    "METHRICS_RELAYS": "Addresses of relays that get the reports, separated by spaces or commas.",
    "METHRICS_PEERS": "Addresses of peers of the topic, in the same form; only the route `direct` "
    "uses them.",
    "METHRICS_DATA": "A path or an address of the data that notebooks open instead of the example.",
    "DO_NOT_TRACK": "Any value but empty or `0`: nothing is recorded or sent.",
    "CI": "CI services set it. If it or one of 17 similar variables is set, nothing is recorded or "
    "sent.",
    "PYTHON": "For `make`: the interpreter that creates `.venv`.",
    "METHRICS_VENV": "For `make`: another folder instead of `.venv`.",
}

_VARIABLE = re.compile(r"METHRICS(?:_[A-Z]+)*|DO_NOT_TRACK")


def cell(text: str) -> str:
    """Return `text` on one line, with `|` escaped, for a table cell."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    """Return a Markdown table with the heading row `head`."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell(one) for one in line) + " |" for line in lines) + "\n"


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    """Return the context that a call of the command would have, with settings such as -h."""
    width = {"terminal_width": 88, "max_content_width": 88}
    own = {**command.context_settings, **width}
    # Click keeps the help option of the first call: a command called alone would be without -h.
    command._help_option = None
    return click.Context(command, info_name=name, parent=parent, **own)


Named = tuple[click.Context, click.Command]


def _commands(group: click.Group, context: click.Context) -> Iterator[Named]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if command.hidden:
            continue
        inner = _context(command, name, context)
        yield inner, command
        if isinstance(command, click.Group):
            yield from _commands(command, inner)


def cli() -> str:
    """docs/reference/cli.md: exit codes and the help of every command."""
    top = _context(root, "methrics")
    parts = [
        "# The command line\n",
        NOTE,
        "`methrics` needs the extra `node`; `aggregate`, `query`, `verify` and `demo` need "
        "`aggregate`. If an extra is missing, the command names it. Results go to standard output; "
        "an error is one line on standard error, `methrics: what is wrong (what to do)`.\n",
        "An option has the same meaning in every command. `--app NAME` chooses an app that this "
        "machine knows, by its name or its label; commands that change nothing also accept the "
        "beginning of its name. `--catalog FILE` chooses an app by its signed catalog. "
        "`--home DIRECTORY` replaces METHRICS_HOME. A duration is a number and a unit: `90s`, "
        "`10m`, `2h`, `3d`, `1w`.\n",
        'Completion for your shell: `eval "$(_METHRICS_COMPLETE=bash_source methrics)"` '
        "(or `zsh_source`, `fish_source`).\n",
        "## Exit codes\n",
        table(("code", "meaning"), [(f"`{one.code}`", one.meaning) for one in EXIT_CODES]),
        f"## methrics\n\n```text\n{root.get_help(top)}\n```\n",
    ]
    for context, command in _commands(root, top):
        parts.append(f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def errors() -> str:
    """docs/reference/errors.md: reason codes of verdicts, error codes."""
    reasons = [
        (f"`{reason}`", reason.decision.name, MEANINGS[reason])
        for decision in Decision
        for reason in Reason
        if reason.decision is decision
    ]
    codes: dict[str, list[source.Raised]] = {}
    for one in source.raised():
        codes.setdefault(one.code, []).append(one)
    rows = [
        (
            f"`{code}`",
            " ".join(sorted({one.error for one in ones})),
            "; ".join(dict.fromkeys(one.message for one in ones)),
            " ".join(sorted({f"`{one.module.removeprefix('methrics.')}`" for one in ones})),
        )
        for code, ones in codes.items()
    ]
    return "\n".join(
        [
            "# Errors and reasons\n",
            NOTE,
            "## Reasons of verdicts\n",
            "Every item gets one of three verdicts, with a reason. REJECT: no honest node sends "
            "such an item, and the peer that forwarded it loses peer score. IGNORE: the item is "
            "dropped, and no peer loses peer score. The codes are stable: tables, test vectors and "
            "replies of relays contain them.\n",
            table(("reason", "verdict", "meaning"), reasons),
            "## Errors\n",
            "`LocalError` (`ConfigError`, `CatalogError`, `StoreError`): a fault of this machine "
            "or of its owner; exit code 3. `RemoteError` (`RefusedError`, `UnreachableError`): a "
            "fault of a peer or of the network; exit code 4. The `code` of a `RefusedError` is a "
            "reason from the table above.\n",
            table(("code", "error", "message", "module"), rows),
        ]
    )


def lint() -> str:
    """docs/reference/lint.md: every finding of the catalog lint."""
    from methrics.schema.catalog.lint import CODES

    rows = [(f"`{code}`", meaning) for code, meaning in CODES.items()]
    return "\n".join(
        [
            "# Lint codes\n",
            NOTE,
            "These are the findings of `methrics catalog lint`. A catalog with an error cannot be "
            "signed; a warning does not prevent it. Advice says what would reveal less.\n",
            table(("code", "meaning"), rows),
        ]
    )


def variables() -> set[str]:
    """Return the environment variables that the code reads."""
    texts = (text for module in source.modules() for text in module.strings())
    return {text for text in texts if _VARIABLE.fullmatch(text)}


def settings() -> str:
    """docs/reference/settings.md: environment variables, settings classes, bounds."""
    parts = [
        "# Settings and bounds\n",
        NOTE,
        "## Environment variables\n",
        table(("variable", "meaning"), [(f"`{name}`", text) for name, text in VARIABLES.items()]),
        "## Settings\n",
        "Each settings class is a frozen dataclass that checks its values when it is made.\n",
    ]
    for owner, (says, fields) in source.settings_classes().items():
        rows = [(*(f"`{part}`" for part in one[1:4]), one.says) for one in fields]
        head = ("field", "type", "default", "meaning")
        parts += [f"### {owner}\n", says + "\n", table(head, rows)]
    bounds = source.bounds("methrics.schema.wire.limits")
    rows = [(f"`{one.name}`", f"`{one.default}`", one.says) for one in bounds]
    parts += [
        "## Bounds of the wire\n",
        "These limits are the same on every node. `schema/SPEC.md` is the normative text.\n",
        table(("name", "value", "unit and reason"), rows),
    ]
    return "\n".join(parts)


def policy(name: str) -> str:
    """A page of docs/reference about the example catalog, as `methrics catalog docs` writes it;
    the data dictionary is in events.md."""
    from methrics.node.cli.catalog import FORMATS, policy_pages
    from methrics.schema.example import example_catalog

    page = policy_pages(example_catalog(), FORMATS)[name]
    if name.endswith(".html"):
        return page
    title, _, text = page.partition("\n")
    return f"{title}\n\n{NOTE}{text}"


def first_screen() -> str:
    """The section of docs/consent.md with the first screen of the example catalog, which fits 80
    columns and 24 lines."""
    from methrics.node.consent.first_screen import first_screen
    from methrics.node.consent.questions import every_question
    from methrics.node.consent.screen import ANSWER, HEIGHT, KEYS, first_pages, keys
    from methrics.schema.example import example_catalog

    catalog = example_catalog()
    asked = every_question([catalog], {}, now=0)
    first = first_screen(asked, before=False, way_back="methrics consent")
    (page,) = first_pages(first, width=80, height=HEIGHT - KEYS)
    return "\n".join(["```text", page.rstrip(), *keys(first, 0), ANSWER.rstrip(), "```"])


def rooms() -> str:
    """The rooms section of ARCHITECTURE.md: each package's rooms, the highest first."""
    parts = []
    for layer in reversed(source.LAYERS):
        rows = []
        for floor in source.floors(layer):
            for name in floor:
                module = source.named(f"methrics.{layer}.{name}")
                rows.append((f"`{name}`", module.says()))
        parts.append(f"### methrics.{layer}\n\n{table(('room', 'its job'), rows)}")
    return "\n".join(parts)


def modules() -> str:
    """docs/reference/modules.md: every module, by room."""
    parts = ["# Modules\n", "Every module and its one job, generated from the docstrings.\n"]
    for layer in source.LAYERS:
        rows = [(f"`{one.short}`", one.says()) for one in source.modules() if one.layer == layer]
        parts.append(f"## methrics.{layer}\n\n{table(('module', 'its one job'), rows)}")
    return "\n".join(parts)
