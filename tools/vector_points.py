"""Signatures on which Ed25519 libraries disagree: points of small and mixed order, extreme R and S.

Let A = aB + T be the point of the key and R = rB + U, where T and U have small order. The signature
R || S with S = r + h a always fulfils the equation times the cofactor 8. It fulfils the equation
without the factor if and only if U + h T is the identity. SPEC.md and libsodium give each signature
the same verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha512
from itertools import count

import vector_edwards as ed
from vector_world import TIME, Scenario, World, protected, seed, sign_by_hand

from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import split

_SECRET = ed.secret_of(seed("report"))


def signed_with(
    w: World,
    *,
    key: bytes | None = None,
    torsion: int = 0,
    small_key: bool = False,
    r: bytes | None = None,
    r_torsion: int | None = 0,
    small_r: bool = False,
    exact: bool = True,
    multiple: int = 0,
) -> bytes:
    """A report with S = r + h a + `multiple` * L.

    Its equation holds if `exact`, else only the equation times 8. T is `TORSION[torsion]`, and U is
    `TORSION[r_torsion]`; with `r_torsion` None, U is chosen so that the equation holds. a is 0 with
    `small_key`, and r is 0 with `small_r`. `key` and `r` replace the encodings of A and R. The
    report's time or r is varied until the equation is as requested.
    """
    a = 0 if small_key else _SECRET
    point = ed.add(ed.times(a, ed.BASE), ed.TORSION[torsion])
    key = key or ed.encode(point)
    for attempt in count():
        body = encode(w.body(time=TIME - 600 * attempt if small_r else TIME))
        start = sign_by_hand(protected(key=key), body)
        nonce = 0 if small_r else int.from_bytes(sha512(b"%d" % attempt).digest(), "little") % ed.L
        u = attempt % 8 if r_torsion is None else r_torsion
        data = r or ed.encode(ed.add(ed.times(nonce, ed.BASE), ed.TORSION[u]))
        h = ed.challenge(data, key, split(start).signed)
        if ((u + h * torsion) % 8 == 0) is exact:
            s = (nonce + h * a) % ed.L + multiple * ed.L
            return start[:-64] + data + s.to_bytes(32, "little")
    raise AssertionError


def points(w: World) -> Iterator[Scenario]:
    """Keys of small order in each encoding, keys of mixed order, then R and S with a normal key.

    E is `TORSION[1]`, a point of order 8.
    """
    forms = ("", "-other-form", "-third-form", "-fourth-form")
    for n, point in enumerate(ed.TORSION):
        for form, key in zip(forms, ed.encodings(point), strict=False):
            raw = signed_with(w, key=key, torsion=n, small_key=True)
            yield (
                f"bad-key-torsion-{n}{form}",
                f"the key is {n} times E, a point of order 8; S = r",
                {"bytes": raw},
            )
    raw = signed_with(w, torsion=1, small_key=True, r_torsion=None, small_r=True)
    yield "bad-key-torsion-all", "key and R of small order, S = 0", {"bytes": raw}
    cases = {
        "ok-key-mixed": (
            "a key of mixed order; h is a multiple of 8, so the equation holds",
            {"torsion": 1},
        ),
        "ok-key-mixed-2": (
            "a key plus the point of order 2; h is even, so the equation holds",
            {"torsion": 4},
        ),
        "ok-key-mixed-r-mixed": (
            "key and R of mixed order; their parts of small order cancel out",
            {"torsion": 1, "r_torsion": None},
        ),
        "bad-key-mixed": (
            "a key of mixed order; only the equation times the cofactor holds",
            {"torsion": 1, "exact": False},
        ),
        "bad-key-mixed-2": (
            "a key plus the point of order 2; h is odd, so the equation fails",
            {"torsion": 4, "exact": False},
        ),
        "bad-key-mixed-r-small": (
            "a key of mixed order and R of small order; their parts of small order cancel out",
            {"torsion": 1, "r_torsion": None, "small_r": True},
        ),
        "forged-r-mixed": (
            "R of mixed order; only the equation times the cofactor holds",
            {"r_torsion": 1, "exact": False},
        ),
        "forged-s-largest": ("S + 14 L in place of S; it is still below 2^256", {"multiple": 14}),
        "forged-s-twice": ("S + 2 L in place of S", {"multiple": 2}),
    }
    for name, (says, how) in cases.items():
        yield name, says, {"bytes": signed_with(w, **how)}  # type: ignore[arg-type]
    for n, point in enumerate(ed.TORSION):
        for form, data in zip(forms, ed.encodings(point), strict=False):
            raw = signed_with(w, r=data, r_torsion=n, small_r=True, exact=n == 0)
            yield (
                f"forged-r-torsion-{n}{form}",
                f"R is {n} times E, a point of order 8",
                {"bytes": raw},
            )
    off = next(data for y in count(2) if ed.decode(data := y.to_bytes(32, "little")) is None)
    raw = sign_by_hand(protected(), encode(w.body()))
    yield (
        "forged-r-off-curve",
        "R is not a point of the curve",
        {"bytes": raw[:-64] + off + raw[-32:]},
    )
