"""Signs erasures of own reports, without revealing whose they are (pure).

An erasure is signed with the key of its report and with no other key. So it proves that the maker
of the report wants it erased, and nothing more (NEW-3): the erasure shows a hash that covers the
report's signature, from which nobody can guess what the report says. An observer could still link
erasures by when and how they are sent. Therefore each erasure gets a random due time, independent
of the report's age and of the other erasures. The publisher sends only one erasure in each pass,
from a fresh host key, in a box as long as that of any report. Erasures that became due while the
machine was off get new random due times, so that they are not sent one right after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from methrics.node.clock import Rng
from methrics.node.outbox.erasures import SignedErasure
from methrics.node.outbox.rows import Receipt
from methrics.node.report.identity import report_seed
from methrics.node.report.pacing import spread
from methrics.node.report.route_names import ROUTES
from methrics.schema.errors import LocalError
from methrics.schema.wire.envelope import Kind, inner_hash, public_key, seal, split
from methrics.schema.wire.items import Erasure, decode_report, encode_erasure
from methrics.schema.wire.limits import DAY


def sign_erasure(raw: bytes, key_seed: bytes) -> bytes:
    """Returns the erasure of the report `raw`, signed with the report's own key. The same report
    always gives the same bytes.

    `key_seed` is the 32-byte seed of that key. Raises LocalError `wrong-seed` for the seed of
    another key, and RefusedError if `raw` is not a report.
    """
    item = split(raw)
    report = decode_report(item.payload)
    if public_key(key_seed) != item.key:
        raise LocalError(
            "wrong-seed",
            "the key of this report is not on this machine",
            "the report was made elsewhere, or its key was burned; it cannot be erased from here",
        )
    erasure = Erasure(report.catalog, inner_hash(item), report.time // DAY)
    return seal(Kind.ERASURE, encode_erasure(erasure), key_seed)


def sign_all(
    receipts: Sequence[Receipt],
    seed_of: Callable[[int], bytes],
    *,
    now: int,
    window: int,
    rng: Rng,
) -> list[SignedErasure]:
    """Returns a signed erasure for each of `receipts`, each due at a random time within `window`
    seconds from `now` (Unix seconds).

    `seed_of` returns the node's seed for a key index. Raises the errors of `sign_erasure` and
    `spread`.
    """
    moments = spread(len(receipts), now, window, rng)
    return [
        SignedErasure(
            key_index=one.key_index,
            raw=sign_erasure(one.raw, report_seed(seed_of(one.key_index), one.key_index, one.salt)),
            due=due,
        )
        for one, due in zip(receipts, moments, strict=True)
    ]


def renewed(raw: bytes, seed: bytes, key_index: int, salt: bytes) -> bytes:
    """Returns the erasure of the report `raw`, for one that an earlier version signed in a form
    which is not accepted any more. `seed`: the node's. Raises the errors of `sign_erasure`."""
    return sign_erasure(raw, report_seed(seed, key_index, salt))


def routes_open(route: str) -> frozenset[str]:
    """Returns the routes of the reports whose erasures may be sent by `route`: `route` itself and
    all routes that hide less.

    Without a new consent, an erasure may be sent by a route that hides more than that of its
    report, but never by one that hides less. Raises ValueError for an unknown route.
    """
    return frozenset(ROUTES[ROUTES.index(route) :])
