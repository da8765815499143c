"""Checks a revocation before it is signed, because no command can take it back (pure)."""

from __future__ import annotations

from collections.abc import Sequence

import click

from methrics.node.cli.naming import listed, near
from methrics.node.publish.lineage import Lineage
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.limits import REASON_MAX, TIME_MAX
from methrics.schema.wire.reading import BARRED, is_name
from methrics.schema.wire.record import Record, Revoked


def check_revocation(type_name: str, revoked: Revoked) -> None:
    """Raises UsageError if a record cannot contain this revocation."""
    if not is_name(type_name):
        raise click.UsageError(
            f"{type_name!r} is no event type: a name has lower-case letters, digits and _"
        )
    size = len(revoked.reason.encode())
    if not revoked.reason.strip() or size > REASON_MAX:
        raise click.UsageError(f"--reason has to have 1 to {REASON_MAX} bytes, not {size}")
    if not BARRED.isdisjoint(revoked.reason):
        raise click.UsageError("--reason has to be one line, without control characters")
    if revoked.time > TIME_MAX:
        raise click.UsageError("--from is too late")


def already_revoked(
    before: Lineage, type_name: str, time: int
) -> tuple[Item, Record, Revoked] | None:
    """Returns the newest record and its revocation if that covers `time` (Unix seconds) already.
    What other records have alone has to be signed, so that None is returned if there are any."""
    if len(before.parents) != 1 or before.apart:
        return None
    item, record = before.parents[0]
    found = record.revoked.get(type_name)
    return None if found is None or found.time > time else (item, record, found)


def check_type(type_name: str, catalogs: Sequence[Catalog], complete: bool) -> None:
    """Raises ConfigError `unknown-type` if no one of `catalogs` has the event type. `complete`:
    whether those are all that the namespace lists."""
    known = sorted({name for one in catalogs for name in one.types})
    if type_name in known:
        return
    if not complete or not known:
        hint = "name its catalog with --catalog FILE, or add --yes"
    elif near(type_name, known):
        hint = f"did you mean {' or '.join(near(type_name, known))}? Or else add --yes"
    else:
        hint = f"known: {listed(known)}; or else add --yes"
    raise ConfigError(
        "unknown-type",
        f"no known catalog has an event type {type_name}, and a revocation is final",
        hint,
    )
