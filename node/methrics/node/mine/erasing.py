"""Erases own reports: drops those that have not left, and journals erasures of the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from methrics.node.clock import Clock, Rng
from methrics.node.mine.own import OwnReport
from methrics.node.outbox.erasures import Erasures
from methrics.node.outbox.journal import Journal
from methrics.node.paths import Paths
from methrics.node.report.erasure import sign_all
from methrics.node.report.pacing import spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """The result of `Mine.erase`, as counts.

    `journaled`: erasures that will be sent. `dropped`: reports that had not left and are deleted.
    `already`: reports whose erasure was asked for before; `again`: those of them whose erasure is
    sent once more. `waiting`: recorded events that are deleted before a report was made of them.
    `damaged`: reports whose bytes in the outbox are damaged, so that no erasure can be made.
    """

    journaled: int = 0
    dropped: int = 0
    already: int = 0
    again: int = 0
    waiting: int = 0
    damaged: int = 0

    def __add__(self, other: Erased) -> Erased:
        return Erased(
            journaled=self.journaled + other.journaled,
            dropped=self.dropped + other.dropped,
            already=self.already + other.already,
            again=self.again + other.again,
            waiting=self.waiting + other.waiting,
            damaged=self.damaged + other.damaged,
        )


def erase_reports(
    paths: Paths, chosen: Iterable[OwnReport], *, over: int, again: bool, clock: Clock, rng: Rng
) -> Erased:
    """Erases each report in `chosen`. The erasures are due at random times within `over` seconds.

    `again`: also sends once more the erasures that have left before. Raises StoreError, LocalError
    `no-seed` if the keys were destroyed, and ValueError if `over` is not within 0..WINDOW_MAX.
    """
    by_app: dict[str, list[OwnReport]] = defaultdict(list)
    for one in chosen:
        by_app[one.namespace].append(one)
    total = Erased()
    for namespace, own in by_app.items():
        journal = Journal(paths.outbox(namespace), clock=clock)
        try:
            total += _erase(Erasures(journal), own, over, again, clock.now(), rng)
        finally:
            journal.close()
    return total


def drop_waiting(paths: Paths, apps: Iterable[str], types: Collection[str], clock: Clock) -> int:
    """Deletes the recorded events of `types` (empty: of all types) of which no report was made yet.
    Returns how many were deleted. Raises StoreError."""
    return _over_waiting(Journal.forget_waiting, paths, apps, types, clock)


def count_waiting(paths: Paths, apps: Iterable[str], types: Collection[str], clock: Clock) -> int:
    """Returns how many events `drop_waiting` would delete. Raises StoreError."""
    return _over_waiting(Journal.count_waiting, paths, apps, types, clock)


def _over_waiting(
    work: Callable[[Journal, str | None], int],
    paths: Paths,
    apps: Iterable[str],
    types: Collection[str],
    clock: Clock,
) -> int:
    """Returns the sum of `work` over all of `apps` and `types`."""
    total = 0
    for namespace in apps:
        journal = Journal(paths.outbox(namespace), clock=clock)
        try:
            total += sum(work(journal, one) for one in types or (None,))
        finally:
            journal.close()
    return total


def _erase(
    erasures: Erasures, own: list[OwnReport], over: int, again: bool, now: int, rng: Rng
) -> Erased:
    readable = [one for one in own if one.report is not None]
    new = [one.receipt for one in readable if one.erasure is None]
    signed = sign_all(new, erasures.seed_of, now=now, window=over, rng=rng)
    done = erasures.request(signed, now)
    old = [one.number for one in readable if one.erasure is not None]
    moments = spread(len(old) if again else 0, now, over, rng)
    return Erased(
        journaled=done.journaled,
        dropped=done.dropped,
        already=done.already + len(old),
        again=erasures.request_again(zip(old, moments, strict=False)),
        damaged=len(own) - len(readable),
    )
