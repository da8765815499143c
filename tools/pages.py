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
    Reason.OK: "Well formed, signed, within its catalog, in time, new.",
    Reason.OVERSIZE: "More bytes than its kind may have; not even parsed.",
    Reason.MALFORMED: "Not the one deterministic encoding of a known structure.",
    Reason.BAD_KEY: "The key is not a usable Ed25519 public key.",
    Reason.FORGED: "The signature does not verify.",
    Reason.OFF_SCHEMA: "A field, value or shape that the catalog does not declare.",
    Reason.EMPTY: "A report of a type with fields, without any value.",
    Reason.UNROUNDED: "A time finer than the type's resolution.",
    Reason.NO_WORK: "The proof of work that the type asks for is missing or too small.",
    Reason.FOREIGN: "It belongs to another namespace than the topic it came on.",
    Reason.DUPLICATE: "Seen before.",
    Reason.EARLY: "Its time lies in the future by more than clocks may differ.",
    Reason.LATE: "Its time lies further back than its type allows for live reports.",
    Reason.UNKNOWN_KIND: "A kind of item or a version that this release does not know.",
    Reason.UNKNOWN_CATALOG: "It names a catalog that is not here; kept aside until that arrives.",
    Reason.ERASED: "Its author has asked for it to be forgotten.",
    Reason.WRONG_KEY: "An erasure that the key of the report it names has not signed.",
    Reason.REVOKED: "Its namespace has withdrawn the event type.",
    Reason.EXPIRED: "Its event type has expired.",
    Reason.QUOTA: "More than this peer or topic may send for now; try later.",
}

VARIABLES = {
    "METHRICS": "`off`, `0`, `false` or `no`: nothing is recorded or sent, whatever was allowed. "
    "`on`: CI does not switch it off; every other reason still does.",
    "METHRICS_HOME": "One folder for data and settings, instead of the platform's usual folders.",
    "METHRICS_RELAYS": "Addresses of relays to hand reports to, separated by spaces or commas.",
    "METHRICS_PEERS": "The same for peers of the topic, which only the route `direct` uses.",
    "METHRICS_DATA": "The data that notebooks open in place of the example: a path or an address.",
    "DO_NOT_TRACK": "Any value but empty or `0`: nothing is recorded or sent.",
    "CI": "Set by CI services, as are 17 variables of single ones: nothing is recorded or sent.",
    "PYTHON": "For `make`: the interpreter to build `.venv` on.",
    "METHRICS_VENV": "For `make`: another place for `.venv`.",
}

_VARIABLE = re.compile(r"METHRICS(?:_[A-Z]+)*|DO_NOT_TRACK")


def cell(text: str) -> str:
    """Text that is safe in a table cell."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell(one) for one in line) + " |" for line in lines) + "\n"


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    """A context as a call would make it: with the command's own settings, such as -h for help."""
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
        "One option means the same everywhere. `--app NAME` chooses an app that this machine "
        "knows, by its name, its label or the beginning of its name; `--catalog FILE` chooses an "
        "app by its signed catalog. `--home DIRECTORY` stands in place of METHRICS_HOME. A "
        "duration is a number and a unit: `90s`, `10m`, `2h`, `3d`, `1w`.\n",
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
            "Every item gets one of three verdicts with one reason. REJECT is for what no honest "
            "node sends and costs the peer that forwarded it; IGNORE is dropped, free of charge. "
            "The codes are stable: they stand in tables, test vectors and relays' replies.\n",
            table(("reason", "verdict", "meaning"), reasons),
            "## Errors\n",
            "`LocalError` (`ConfigError`, `CatalogError`, `StoreError`): this machine or its "
            "owner; exit code 3. `RemoteError` (`RefusedError`, `UnreachableError`): a peer or "
            "the network; exit code 4. The `code` of a `RefusedError` is a reason from the table "
            "above.\n",
            table(("code", "error", "message", "module"), rows),
        ]
    )


def lint() -> str:
    """docs/reference/lint.md: what the catalog lint can say."""
    from methrics.schema.catalog.lint import CODES

    rows = [(f"`{code}`", meaning) for code, meaning in CODES.items()]
    return "\n".join(
        [
            "# Lint codes\n",
            NOTE,
            "What `methrics catalog lint` finds. An error stops signing, a warning does not.\n",
            table(("code", "meaning"), rows),
        ]
    )


def variables() -> set[str]:
    """Environment variables that the code names."""
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
        "Each is a frozen dataclass that is checked once, when it is made.\n",
    ]
    for owner, (says, fields) in source.settings_classes().items():
        rows = [(*(f"`{part}`" for part in one[1:4]), one.says) for one in fields]
        head = ("field", "type", "default", "meaning")
        parts += [f"### {owner}\n", says + "\n", table(head, rows)]
    bounds = source.bounds("methrics.schema.wire.limits")
    rows = [(f"`{one.name}`", f"`{one.default}`", one.says) for one in bounds]
    parts += [
        "## Bounds of the wire\n",
        "The same on every node; `schema/SPEC.md` is the normative text.\n",
        table(("name", "value", "unit and reason"), rows),
    ]
    return "\n".join(parts)


def policy(name: str) -> str:
    """A page of docs/reference about the example catalog, as `methrics catalog docs` writes it;
    the data dictionary stands in events.md."""
    from methrics.node.cli.catalog import FORMATS, policy_pages
    from methrics.schema.example import example_catalog

    page = policy_pages(example_catalog(), FORMATS)[name]
    if name.endswith(".html"):
        return page
    title, _, text = page.partition("\n")
    return f"{title}\n\n{NOTE}{text}"


def rooms() -> str:
    """The rooms section of ARCHITECTURE.md: each package's rooms, from the edges to the ground."""
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
