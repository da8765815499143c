"""`methrics catalog`: checks, signs, shows, compares and documents catalogs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.counted import counted
from methrics.node.cli.group import CommandGroup
from methrics.node.cli.keyfile import SEED_SIZE, read_key
from methrics.node.cli.options import FILE, json_option
from methrics.node.clock import Clock
from methrics.node.paths import user_paths
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.lint import ERROR, Problem, advise, lint_text
from methrics.schema.catalog.source import SOURCE_MAX, CatalogSource
from methrics.schema.errors import CatalogError, ConfigError, StoreError

FORMATS = ("md", "html")


@click.group(cls=CommandGroup)
def catalog() -> None:
    """Write, check, sign and read event catalogs.

    A catalog declares what an app may measure. You write it as TOML, check it, and sign it with
    your namespace key. Anyone can make such a key; no permission is needed. Then list it in the
    namespace's record with `methrics namespace publish`.
    """


@catalog.command()
@click.argument("source", type=FILE)
@json_option()
@click.pass_context
def lint(ctx: click.Context, source: Path, as_json: bool) -> None:
    """Check the TOML in SOURCE; exit code 1 if it cannot be signed."""
    usable, problems = lint_text(_text(source), Clock().now())
    advice = advise(usable) if usable is not None else []
    if as_json:
        click.echo(json.dumps([_problem(one) for one in [*problems, *advice]], indent=2))
    else:
        for problem in [*problems, *advice]:
            click.echo(f"{source}: {problem}")
    if usable is None:
        ctx.exit(1)
    if not as_json:
        warned = f", {counted(len(problems), 'warning')}" if problems else ""
        types = counted(len(usable.types), "event type")
        click.echo(f"{source}: {types}, ready to be signed{warned}")


@catalog.command(name="sign")
@click.argument("source", type=FILE)
@click.option("--key", type=FILE, required=True, help="The namespace key (see namespace init).")
@click.option("--previous", type=FILE, help="The signed catalog that this one replaces.")
@click.option("--output", "-o", type=FILE, required=True, help="Where to write the signed catalog.")
def sign_command(source: Path, key: Path, previous: Path | None, output: Path) -> None:
    """Check the TOML in SOURCE and sign it, ready to ship."""
    raw = sign(_linted(source), read_key(key), load_catalog(previous) if previous else None)
    try:
        output.write_bytes(raw)
    except OSError as error:
        raise StoreError(
            "catalog-unwritable",
            f"cannot write {output}: {error.strerror}",
            "choose another file with --output",
        ) from error
    signed = load(raw)
    click.echo(f"wrote {output} ({len(raw)} bytes)")
    click.echo(f"catalog number {signed.number}, id {signed.id.hex()}")
    click.echo(f"topic {signed.topic}")


@catalog.command()
@click.argument("file", type=FILE)
@click.option("--consent", is_flag=True, help="Show the questions exactly as people see them.")
@click.option(
    "--schema", "as_schema", is_flag=True, help="Print the JSON Schema of each type's reports."
)
@json_option()
def show(file: Path, consent: bool, as_schema: bool, as_json: bool) -> None:
    """Show the signed catalog, or the TOML source, in FILE."""
    if sum([consent, as_schema, as_json]) > 1:
        raise click.UsageError("choose one of --consent, --schema and --json")
    declared = _either(file)
    if consent:
        _print_consent(declared)
    elif as_schema:
        from methrics.schema.pages.explain import json_schema

        schemas = {name: json_schema(one) for name, one in declared.types.items()}
        click.echo(json.dumps(schemas, indent=2))
    elif as_json:
        click.echo(json.dumps(_overview(declared), indent=2))
    else:
        _print_overview(_overview(declared))


@catalog.command()
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@json_option()
@click.pass_context
def diff(ctx: click.Context, old: Path, new: Path, as_json: bool) -> None:
    """List the changes between two catalogs.

    Also lists the event types about which people have to be asked again; the exit code is 1 if
    there are any. If fields use randomized response, the sum of their epsilons is shown. OLD and
    NEW may each be a signed catalog or a TOML source.
    """
    from methrics.schema.catalog import diff as compare
    from methrics.schema.catalog.epsilon import total_epsilon

    before, after = _either(old), _either(new)
    changes = compare.diff(before, after)
    totals = [total_epsilon(before), total_epsilon(after), total_epsilon(before, after)]
    again = sorted(compare.asks_again(changes))
    if as_json:
        document = {
            "asks_again": again,
            "changes": [
                {"where": one.where, "message": one.message, "asks_again": one.asks_again}
                for one in changes
            ],
            "epsilon": {
                name: total / 1000
                for name, total in zip(("old", "new", "both"), totals, strict=True)
            },
        }
        click.echo(json.dumps(document, indent=2))
    else:
        for change in changes:
            click.echo(str(change))
        if any(totals):
            was, is_now, both = (f"{total / 1000:g}" for total in totals)
            click.echo(
                f"epsilon of all randomized fields: was {was}, is {is_now}; {both} for a person "
                "who answers both catalogs"
            )
        click.echo(f"to be asked again: {', '.join(again) or 'nothing'}")
    ctx.exit(1 if again else 0)


@catalog.command()
@click.argument("file", type=FILE)
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    help="md (Markdown) or html (one file that loads no other). Default: both, or md when printed.",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the pages there instead of printing them.",
)
@click.option(
    "--check", is_flag=True, help="With --out: write nothing; exit code 1 if a page is out of date."
)
@click.pass_context
def docs(
    ctx: click.Context, file: Path, formats: tuple[str, ...], folder: Path | None, check: bool
) -> None:
    """Write the privacy notice and data dictionary of a catalog.

    Both are generated from the catalog, so they agree with what the app sends. Publish them with
    the app, and run this with --check in the app's tests.
    """
    if check and folder is None:
        raise click.UsageError("--check compares the pages in a folder: name it with --out")
    found = policy_pages(_either(file), formats or (FORMATS if folder else FORMATS[:1]))
    if folder is None:
        click.echo("\n".join(found.values()), nl=False)
        return
    stale = [name for name, text in found.items() if _page(folder / name) != text]
    if check:
        for name in stale:
            click.echo(f"out of date: {folder / name}")
        ctx.exit(1 if stale else 0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in found.items():
            (folder / name).write_text(text, "utf-8")
            click.echo(f"wrote {folder / name}")
    except OSError as error:
        raise StoreError("docs-unwritable", f"cannot write {folder}: {error.strerror}") from error


def policy_pages(declared: Catalog | CatalogSource, formats: Sequence[str]) -> dict[str, str]:
    """Returns the pages of a catalog in each of `formats`, by file name."""
    from methrics.node.html.document import web_page
    from methrics.schema.pages.dictionary import dictionary
    from methrics.schema.pages.document import markdown
    from methrics.schema.pages.notice import notice

    foot = f"Generated from catalog number {declared.number} of {declared.label}."
    pages = {"privacy-notice": notice(declared), "data-dictionary": dictionary(declared)}
    return {
        f"{name}.{one}": web_page(page, foot=foot) if one == "html" else markdown(page)
        for name, page in pages.items()
        for one in formats
    }


def _page(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(SOURCE_MAX + 1)
    except OSError as error:
        raise ConfigError(
            "file-unreadable", f"cannot read {path}: {error.strerror}", "check the file's name"
        ) from error
    if len(data) > SOURCE_MAX:
        raise CatalogError("catalog-too-large", f"{path} is larger than {SOURCE_MAX} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise CatalogError(
            "catalog-source", f"{path} is not text", "a source is TOML in UTF-8"
        ) from None


def _linted(path: Path) -> CatalogSource:
    usable, problems = lint_text(_text(path), Clock().now())
    if usable is None:
        first = next(one for one in problems if one.severity == ERROR)
        raise CatalogError(
            "catalog-lint", f"{path}: {first}", f"see all with: methrics catalog lint {path}"
        )
    return usable


def _either(path: Path) -> Catalog | CatalogSource:
    """Returns the linted source in a file that ends in .toml, or the signed catalog in any other
    file."""
    return _linted(path) if path.suffix == ".toml" else load_catalog(path)


def _problem(problem: Problem) -> dict[str, str]:
    return {
        "code": problem.code,
        "severity": problem.severity,
        "where": problem.where,
        "message": problem.message,
    }


def _overview(declared: Catalog | CatalogSource) -> dict[str, Any]:
    from methrics.schema.catalog.epsilon import total_epsilon

    signed = (
        {
            "id": declared.id.hex(),
            "key": declared.key.hex(),
            "topic": declared.topic,
            "bytes": len(declared.raw),
        }
        if isinstance(declared, Catalog)
        else {}
    )
    return {
        "label": declared.label,
        "number": declared.number,
        "previous": declared.previous.hex() if declared.previous else None,
        "contact": declared.contact,
        "results": declared.results or None,
        "epsilon": total_epsilon(declared) / 1000,
        **signed,
        "types": {
            name: {
                "kind": one.kind,
                "question": one.question,
                "owner": one.owner,
                "expires": one.expires,
                "retention_days": one.retention_days,
                "bits": round(one.revealed_bits, 1),
                "entropy_bits": one.entropy_bits,
                "fields": [field.name for field in one.fields],
            }
            for name, one in declared.types.items()
        },
    }


def _print_consent(declared: Catalog | CatalogSource) -> None:
    """Prints the texts that people read before they decide, as `methrics consent ask` does."""
    from methrics.node.consent.first_screen import first_screen
    from methrics.node.consent.questions import every_question
    from methrics.node.consent.screen import whole
    from methrics.node.consent.way_back import way_back
    from methrics.node.consent.wording import sheet

    now = Clock().now()
    if isinstance(declared, CatalogSource):
        click.echo(f"{declared.label} is not signed: its topic and catalog id are placeholders")
        declared = load(sign(declared, os.urandom(SEED_SIZE)))
    seed = os.urandom(SEED_SIZE)
    asked = every_question([declared], {}, now=now)
    if not asked:
        click.echo("every event type has expired: people are not asked about any")
        return
    first = first_screen(asked, before=False, way_back=way_back(user_paths()))
    click.echo(whole(first, [sheet(one, now=now, seed=seed) for one in asked]), nl=False)


def _print_overview(overview: dict[str, Any]) -> None:
    for key, value in overview.items():
        if key != "types" and value is not None and (key != "epsilon" or value):
            click.echo(f"{key:10} {value}")
    for name, one in overview["types"].items():
        click.echo(f"\n{name} ({one['kind']}, {one['bits']} of {one['entropy_bits']} bits)")
        click.echo(f"  {one['question']}")
        fields = ", ".join(one["fields"]) or "none"
        click.echo(f"  fields: {fields}; kept {one['retention_days']} days")
