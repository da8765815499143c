"""Says what the relays have of a namespace: as lines for a person, or as a document (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from methrics.node.durations import about
from methrics.node.mine.own import moment
from methrics.node.outbox.records import ONE_RELAY, Kept
from methrics.node.publish.record_relays import Told, peer_of
from methrics.node.publish.standing import heads_of
from methrics.schema.wire.envelope import Item, split
from methrics.schema.wire.record import Listing, Record, decode_record
from methrics.schema.wire.topic import parse_topic

WARN = 30 * 86_400
"""Seconds before a record expires from which on `status` warns."""

AGREED, DIFFER, ALONE, NONE = "agreed", "differ", "one-relay", "none"
NOT_CARRIED, UNANSWERED = "not-carried", "unanswered"

_AGREEMENT = {
    AGREED: "all relays that answered have the same",
    DIFFER: "the relays have different records; publish again to all of them",
    ALONE: ONE_RELAY,
    NONE: "no relay has a record; make one with: methrics namespace publish",
    NOT_CARRIED: "no relay carries this app",
    UNANSWERED: "no relay answered",
}


class Named(NamedTuple):
    """A catalog that a person named: what to call it, and its id."""

    name: str
    catalog: bytes


def agreement(told: Sequence[Told]) -> str:
    """Returns `agreed` if all relays that answered have the same records, `one-relay` if only one
    relay answered, at however many addresses, `none` if none has a record, `not-carried` if those
    that answered do not carry the app, `unanswered` if none answered, or else `differ`."""
    answers = {peer_of(one.addr): frozenset(one.raws) for one in told if one.topic}
    if not answers:
        return NOT_CARRIED if any(one.foreign for one in told) else UNANSWERED
    if not any(answers.values()):
        return NONE
    if len(answers) == 1:
        return ALONE
    return AGREED if len(set(answers.values())) == 1 else DIFFER


def carry_hint(topic: str) -> str:
    """Returns what to do if no relay carries the app with this topic; "" if that is not known."""
    option = f"--topic {topic} or --catalog FILE" if topic else "--catalog FILE"
    return f"ask its operator to start it with {option}, or run your own"


def is_listed(told: Sequence[Told], topic: str, now: int, named: Named) -> bool:
    """Tells whether a catalog is listed at `now` (Unix seconds) in every record that counts."""
    heads = _heads(told, topic)
    return bool(heads) and all(
        _is_listed(record.listings.get(named.catalog), now) for _, record in heads
    )


def status_lines(
    told: Sequence[Told], topic: str, now: int, named: Named | None = None
) -> Iterator[str]:
    """Yields the lines for a person. `now`: Unix seconds. `named`: the catalog in question."""
    yield f"topic {topic}"
    for one in told:
        yield f"{one.addr}: {_held(one)}"
    state = agreement(told)
    hint = f"; {carry_hint(topic)}" if state == NOT_CARRIED else ""
    yield f"{_AGREEMENT[state]}{hint}"
    heads = _heads(told, topic)
    names = {named.catalog: named.name} if named else {}
    for item, record in heads:
        yield from _record_lines(item, record, now, names)
        if named:
            yield f"  {named.name} is {_standing(record.listings.get(named.catalog), now)}"
    if len(heads) > 1:
        yield (
            "these records contradict each other: the key was used in two places. "
            "Any `methrics namespace publish` or `revoke` heals this"
        )
    if heads:
        yield f"a report tells {_bits(heads):.1f} bits by which of the catalogs it names"


def status_document(
    told: Sequence[Told], topic: str, now: int, named: Named | None = None
) -> dict[str, object]:
    """Returns the same as a JSON document."""
    heads = _heads(told, topic)
    return {
        "topic": topic,
        "catalog": named
        and {"id": named.catalog.hex(), "listed": is_listed(told, topic, now, named)},
        "relays": [
            {
                "address": one.addr,
                "error": one.error or None,
                "records": [split(raw).id.hex() for raw in one.raws],
            }
            for one in told
        ],
        "agreement": agreement(told),
        "equivocation": len(heads) > 1,
        "list_bits": round(_bits(heads), 2) if heads else None,
        "records": [
            {
                "id": item.id.hex(),
                "time": record.time,
                "expires": record.expires,
                "expired": record.expires <= now,
                "previous": [one.hex() for one in record.previous],
                "catalogs": [
                    {"id": one.catalog.hex(), "listed": one.listed, "delisted": one.delisted}
                    for one in record.catalogs
                ],
                "revoked": {
                    name: {"time": one.time, "reason": one.reason}
                    for name, one in record.revoked.items()
                },
                "raw": item.raw.hex(),
            }
            for item, record in heads
        ],
    }


def record_facts(record: Record, now: int, names: Mapping[bytes, str]) -> Iterator[str]:
    """Yields one line for the expiry, each catalog and each revoked type of a record. `names`: what
    the person calls some catalogs, by id."""
    left = record.expires - now
    if left <= 0:
        yield f"expired on {moment(record.expires)} UTC: nothing is sent until you publish again"
    else:
        soon = "; publish again before that" if left <= WARN else ""
        yield f"expires on {moment(record.expires)} UTC, in {about(left)}{soon}"
    for one in record.catalogs:
        end = f", until {moment(one.delisted)} UTC" if one.delisted is not None else ""
        name = f", {names[one.catalog]}," if one.catalog in names else ""
        yield f"catalog {one.catalog.hex()[:16]}{name} listed since {moment(one.listed)} UTC{end}"
    for name, revoked in record.revoked.items():
        yield f"revoked: {name}, from {moment(revoked.time)} UTC: {revoked.reason}"


def _held(one: Told) -> str:
    if not one.topic:
        return one.error
    held = ", ".join(f"record {split(raw).id.hex()[:16]}" for raw in one.raws)
    return held or "no record"


def _heads(told: Sequence[Told], topic: str) -> list[tuple[Item, Record]]:
    raws = heads_of((raw for one in told for raw in one.raws), parse_topic(topic)[1])
    return [(item, decode_record(item.payload)) for item in map(split, raws)]


def _bits(heads: Sequence[tuple[Item, Record]]) -> float:
    return Kept(tuple(item.raw for item, _ in heads)).list_bits


def _is_listed(one: Listing | None, now: int) -> bool:
    return one is not None and (one.delisted is None or now < one.delisted)


def _standing(one: Listing | None, now: int) -> str:
    if one is None:
        return "not listed"
    if one.delisted is None:
        return "listed"
    if now < one.delisted:
        return f"listed until {moment(one.delisted)} UTC"
    return f"not listed any more, since {moment(one.delisted)} UTC"


def _record_lines(
    item: Item, record: Record, now: int, names: Mapping[bytes, str]
) -> Iterator[str]:
    yield f"record {item.id.hex()[:16]} of {moment(record.time)} UTC"
    for line in record_facts(record, now, names):
        yield f"  {line}"
