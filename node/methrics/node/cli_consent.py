"""`methrics consent`: what apps on this machine may share; look, allow, stop."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from methrics.node.clock import Clock
from methrics.node.consent import PRODUCTION, ROUTES, forbidden
from methrics.node.journal import Journal
from methrics.node.ledger import grant, policy_off, read_answers, withdraw
from methrics.node.paths import Places, namespace_of, places
from methrics.schema.catalog import Catalog, load
from methrics.schema.errors import CatalogError, ConfigError
from methrics.schema.explain import consent_text

CATALOG = click.argument("catalog", type=click.Path(path_type=Path, dir_okay=False))
HOME = click.option("--home", type=click.Path(path_type=Path), help="Instead of METHRICS_HOME.")

_RULES = {
    "policy": "the system's policy file says no, whatever is answered here",
    "do-not-track": "DO_NOT_TRACK is set, so nothing is recorded",
    "methrics-off": "METHRICS=off is set, so nothing is recorded",
    "ci": "this looks like a build service, so nothing is recorded (METHRICS=on to allow it)",
}


@click.group()
def consent() -> None:
    """See and change what apps on this machine may share. Off unless you say otherwise.

    An app is named by its namespace, as `show` prints it. Answers are kept in one readable file.
    """


@consent.command()
@HOME
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def show(home: Path | None, as_json: bool) -> None:
    """Show every answer given so far, and what overrides them."""
    where = places(home)
    answers = read_answers(where.ledger)
    rule = forbidden(policy_off=policy_off(where.policy), env=os.environ, environment=PRODUCTION)
    if as_json:
        shown = {
            namespace: {
                name: {
                    "on": answer.on,
                    "fields": None if answer.fields is None else sorted(answer.fields),
                    "routes": sorted(answer.routes),
                }
                for name, answer in types.items()
            }
            for namespace, types in answers.items()
        }
        document = {"ledger": where.ledger, "overridden_by": rule, "apps": shown}
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"answers in {where.ledger}")
    if rule is not None:
        click.echo(f"overridden: {_RULES[rule]}")
    if not answers:
        click.echo("no app was answered yet: everything is off")
    for namespace, types in sorted(answers.items()):
        click.echo(namespace)
        for name, answer in sorted(types.items()):
            fields = "every field" if answer.fields is None else ", ".join(sorted(answer.fields))
            routes = ", ".join(sorted(answer.routes))
            click.echo(f"  {name}: {f'on ({fields}; by {routes})' if answer.on else 'off'}")


@consent.command(name="grant")
@CATALOG
@click.option(
    "--type", "types", multiple=True, help="Event type; repeat for several. Default: all."
)
@click.option("--field", "fields", multiple=True, help="Share these fields only. Default: all.")
@click.option(
    "--route",
    "routes",
    multiple=True,
    type=click.Choice(ROUTES),
    default=["relay"],
    show_default=True,
    help="How reports may travel; direct shows your address to peers.",
)
@HOME
@click.option("--yes", is_flag=True, help="Do not ask.")
def grant_command(
    catalog: Path,
    types: tuple[str, ...],
    fields: tuple[str, ...],
    routes: tuple[str, ...],
    home: Path | None,
    yes: bool,
) -> None:
    """Allow event types of the app whose signed CATALOG this is.

    What is allowed is exactly what is shown: fields that a later version adds stay off.
    """
    loaded = _load(catalog)
    chosen = _chosen(loaded, types)
    _check_fields(loaded, chosen, fields)
    if not yes:
        click.echo("\n\n".join(consent_text(loaded.types[name]) for name in chosen))
        click.confirm("Allow this?", abort=True)
    where, now = places(home), Clock().now()
    namespace = namespace_of(loaded.label, loaded.short_key)
    for name in chosen:
        declared = [field.name for field in loaded.types[name].fields]
        shared = [field for field in declared if not fields or field in fields]
        grant(where, namespace, [name], fields=shared, routes=routes, now=now)
    click.echo(f"{namespace}: on: {', '.join(chosen)}")


@consent.command(name="withdraw")
@click.argument("namespace")
@click.option(
    "--type", "types", multiple=True, help="Event type; repeat for several. Default: all."
)
@HOME
def withdraw_command(namespace: str, types: tuple[str, ...], home: Path | None) -> None:
    """Stop event types of NAMESPACE at once, and forget what was not sent yet."""
    where = places(home)
    known = read_answers(where.ledger).get(namespace)
    if known is None:
        raise ConfigError(
            "unknown-namespace",
            f"no app was answered under the name {namespace}",
            "`methrics consent show` prints the names",
        )
    chosen = list(types or known)
    withdraw(where, namespace, chosen, now=Clock().now())
    forgotten = _purge(where, namespace, chosen)
    click.echo(f"{namespace}: off: {', '.join(chosen)}; {forgotten} waiting rows forgotten")


def _purge(where: Places, namespace: str, types: list[str]) -> int:
    journal = Journal(where.outbox(namespace))
    if not journal.exists():
        return 0
    try:
        return sum(journal.purge(name) for name in types)
    finally:
        journal.close()


def _load(path: Path) -> Catalog:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CatalogError(
            "catalog-unread", f"cannot read {path}: {error.strerror}", "give a signed catalog"
        ) from error
    return load(raw)


def _chosen(catalog: Catalog, types: tuple[str, ...]) -> list[str]:
    unknown = sorted(set(types) - set(catalog.types))
    if unknown:
        raise ConfigError(
            "unknown-type",
            f"the catalog declares no {', '.join(unknown)}",
            f"one of {', '.join(catalog.types)}",
        )
    return list(dict.fromkeys(types)) or list(catalog.types)


def _check_fields(catalog: Catalog, types: list[str], fields: tuple[str, ...]) -> None:
    declared = {field.name for name in types for field in catalog.types[name].fields}
    unknown = sorted(set(fields) - declared)
    if unknown:
        raise ConfigError(
            "unknown-field",
            f"no such field: {', '.join(unknown)}",
            f"one of {', '.join(sorted(declared))}",
        )
