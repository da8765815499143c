"""Histories of records: chains, equivocations, and how they are healed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from vector_world import TIME, Scenario, World

from methrics.schema.wire.envelope import split

_History = tuple[str, str, list[bytes], bytes, list[bytes], list[bytes] | None]
"""Name, description, records in the order of arrival, the newest, the heads and the proof."""


def histories(w: World) -> Iterator[Scenario]:
    """Records of one namespace in the order of arrival, and what a node then knows."""
    for name, says, items, newest, heads, proof in (*_forks(w), *_settled(w)):
        expect = {
            "newest": split(newest).id,
            "heads": [split(one).id for one in heads],
            "proof": None if proof is None else [split(one).id for one in proof],
        }
        yield name, says, {"records": items, "expect": expect}


def _record(
    w: World, number: int, *before: bytes, label: int = 0, settled: int | None = None
) -> bytes:
    """A record of that second, which names the ones before it."""
    change: dict[str, object] = {
        "time": TIME + number,
        "previous": sorted(split(one).id for one in before),
        "catalogs": [],
    }
    if label:
        change["fork"] = label
    if settled is not None:
        change["settled"] = TIME + settled
    return w.record(**change)


def _settled(w: World) -> Iterator[_History]:
    """What the newest record says about the contradictions before it."""
    record = partial(_record, w)
    first = record(0)
    second, fork = record(1, first), record(3, first)
    heal = record(5, second, fork, settled=3)
    last = record(6, heal, settled=3)
    yield (
        "settled-replay",
        "two old records that contradict each other, and the one that healed them is not known",
        [last, second, fork],
        last,
        [last],
        None,
    )
    before = record(6, heal, settled=2)
    yield (
        "settled-before",
        "settled one second before the newer of two records",
        [first, second, fork, before],
        before,
        [before, fork],
        [second, fork],
    )
    dropped = record(7, last)
    yield (
        "settled-dropped",
        "only the newest record counts, and it does not carry on what was settled",
        [second, fork, last, dropped],
        dropped,
        [dropped, fork, second],
        [second, fork],
    )
    late = record(4, first)
    yield (
        "settled-late-fork",
        "a record that contradicts settled ones and is later than what is settled",
        [first, second, fork, late, last],
        last,
        [last, late],
        [second, late],
    )
    child = record(2, second)
    head = record(4, child)
    merge = record(5, second, fork, head, settled=4)
    yield (
        "settled-branch",
        "a record heals two, and does not contradict the child of one of them",
        [first, second, child, fork, head, merge],
        merge,
        [merge],
        None,
    )
    continued = record(6, fork)
    yield (
        "settled-branch-continued",
        "a branch that was healed goes on, and nothing is settled any more",
        [heal, fork, continued],
        continued,
        [continued, heal],
        [heal, continued],
    )
    wide = [record(1, label=label) for label in range(1, 6)]
    settling = record(2, *sorted(wide)[:2], settled=1)
    yield (
        "settled-wide-fork",
        "one record settles five that name none",
        [*wide, settling],
        settling,
        [settling],
        None,
    )


def _forks(w: World) -> Sequence[_History]:
    """Chains, equivocations and later records that name both."""
    record = partial(_record, w)
    first = record(0)
    second = record(1, first)
    third = record(2, second)
    fork = record(3, first)
    again = record(4, label=1)
    heal = record(5, second, fork)
    early_heal = record(1, second, fork, label=1)
    same_time = record(1, first, label=2)
    late_heal = record(6, second, third, fork)
    return (
        (
            "chain",
            "three records, each naming the one before",
            [first, second, third],
            third,
            [third],
            None,
        ),
        ("chain-backwards", "the same in reverse", [third, second, first], third, [third], None),
        (
            "fork",
            "two records that name the same one",
            [first, second, fork],
            fork,
            [fork, second],
            [second, fork],
        ),
        (
            "fork-backwards",
            "the same in reverse",
            [fork, second, first],
            fork,
            [fork, second],
            [second, fork],
        ),
        (
            "fork-without-parent",
            "two records that name the same one, which is lost",
            [second, fork],
            fork,
            [fork, second],
            [second, fork],
        ),
        (
            "two-first",
            "two records that name none",
            [first, again],
            again,
            [again, first],
            [first, again],
        ),
        ("heal", "a later record names both", [first, second, fork, heal], heal, [heal], None),
        (
            "heal-first",
            "the same, and the later record comes first",
            [heal, fork, second, first],
            heal,
            [heal],
            None,
        ),
        (
            "heal-not-later",
            "a record names both, but is not later",
            [first, second, fork, early_heal],
            fork,
            [early_heal],
            [second, fork],
        ),
        (
            "heal-with-heads",
            "a later record names both, and a child of one",
            [first, second, third, fork, late_heal],
            late_heal,
            [late_heal],
            None,
        ),
        (
            "same-time",
            "two records of the same time: the larger id is newer",
            [first, second, same_time],
            *_by_id(second, same_time),
        ),
        ("same-twice", "the same record twice", [first, first], first, [first], None),
    )


def _by_id(one: bytes, other: bytes) -> tuple[bytes, list[bytes], list[bytes]]:
    """The newest, the heads and the proof of two records of the same time."""
    older, newer = sorted((one, other), key=lambda raw: split(raw).id)
    return newer, [newer, older], [older, newer]
