"""Asking for one's own reports to be forgotten, without telling whose they were (pure).

An erasure is signed with the key of the report it is for, and with no other: it shows that whoever
made the report wants it gone, and nothing more (NEW-3). What could tie erasures to one another is
when and how they travel. So each gets a moment of its own, drawn anew and independent of the
report's age and of the other erasures; only one leaves in a pass, from a host key of its own, in a
box as long as that of any report; and those that became due while the machine was off do not leave
in a row but are drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from methrics.node.clock import Rng
from methrics.node.outbox.erasures import SignedErasure
from methrics.node.outbox.rows import Receipt
from methrics.node.report.identity import report_seed
from methrics.node.report.route_names import ROUTES
from methrics.schema.errors import LocalError
from methrics.schema.wire.envelope import Kind, public_key, seal, split
from methrics.schema.wire.items import Erasure, decode_report, encode_erasure

WINDOW = 7 * 86_400
"""Seconds over which erasures leave unless told otherwise: every weekday and hour is as likely."""

WINDOW_MAX = 60 * 86_400
"""Seconds: the longest window. What is to be forgotten should be, some day."""

GAP = (120, 1200)
"""Seconds (least, most) that each overdue erasure adds to the time over which all are drawn again:
a relay's mixing windows pass in between, and a machine that is on for an hour a day gets done."""


def sign_erasure(raw: bytes, key_seed: bytes) -> bytes:
    """The erasure of the report `raw`, signed with the report's own key. Always the same bytes.

    `key_seed` is the 32-byte seed of that key. Raises LocalError `wrong-seed` if it is not, and
    RefusedError if `raw` is no report.
    """
    item = split(raw)
    report = decode_report(item.payload)
    if public_key(key_seed) != item.key:
        raise LocalError(
            "wrong-seed",
            "the key of this report is not among those kept here",
            "it was made elsewhere, or its key was burned; it cannot be erased from here",
        )
    erasure = Erasure(report.catalog, item.id, report.time)
    return seal(Kind.ERASURE, encode_erasure(erasure), key_seed)


def sign_all(
    receipts: Sequence[Receipt],
    seed_of: Callable[[int], bytes],
    *,
    now: int,
    window: int,
    rng: Rng,
) -> list[SignedErasure]:
    """An erasure for each of `receipts`, each due at a moment of its own.

    `seed_of` gives the node's seed for a key index. Raises as `sign_erasure` does.
    """
    moments = spread(len(receipts), now, window, rng)
    return [
        SignedErasure(
            key_index=one.key_index,
            raw=sign_erasure(one.raw, report_seed(seed_of(one.key_index), one.key_index)),
            due=due,
        )
        for one, due in zip(receipts, moments, strict=True)
    ]


def spread(count: int, now: int, window: int, rng: Rng) -> list[int]:
    """`count` moments from `now` on, each anywhere in `window` seconds, whatever the others are.

    ValueError if the window is not within 0..WINDOW_MAX.
    """
    if not 0 <= window <= WINDOW_MAX:
        raise ValueError(f"a window has 0..{WINDOW_MAX} seconds, not {window}")
    return [now + int(rng() * (window + 1)) for _ in range(count)]


def spread_again(count: int, now: int, rng: Rng) -> list[int]:
    """New moments for `count` erasures that are overdue: the more there are, the longer it takes,
    and none comes sooner than GAP[0] seconds from `now`."""
    least, most = GAP
    return [now + least + int(rng() * count * (most - least)) for _ in range(count)]


def routes_open(route: str) -> frozenset[str]:
    """The routes of reports whose erasures may leave by `route`: one that hid no more than it.

    The person has consented to that much; hiding more than that needs no consent.
    """
    return frozenset(ROUTES[ROUTES.index(route) :])
