"""Edwards25519 in plain integers, and the signature rules of SPEC.md, for test vectors only.

The code is slow and not constant in time; the secrets of the test vectors are published.
Formulas: RFC 8032 section 5.1. Points are (x, y) modulo P.
"""

from __future__ import annotations

from hashlib import sha512

P = 2**255 - 19
"""The prime of the field."""
L = 2**252 + 27742317777372353535851937790883648493
"""The order of the prime-order group."""
D = -121665 * pow(121666, -1, P) % P
_ROOT = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
IDENTITY: Point = (0, 1)


def add(one: Point, two: Point) -> Point:
    """The sum of two points."""
    (x1, y1), (x2, y2) = one, two
    product = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def times(scalar: int, point: Point) -> Point:
    """`scalar` >= 0 times `point`."""
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def negative(point: Point) -> Point:
    """The negative of `point`: their sum is the identity."""
    return -point[0] % P, point[1]


def encode(point: Point) -> bytes:
    """The canonical encoding: y in 255 bits, and the lowest bit of x."""
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data: bytes) -> Point | None:
    """The point that 32 bytes encode, canonically or not; None if they encode no point."""
    number = int.from_bytes(data, "little")
    y, sign = number % 2**255 % P, number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * _ROOT % P
    if x * x % P != square:
        return None
    return (-x % P if x & 1 != sign else x), y


_BASE_Y = 4 * pow(5, -1, P) % P
_BASE = decode(_BASE_Y.to_bytes(32, "little"))
assert _BASE is not None
BASE: Point = _BASE
"""The base point B."""

# A point outside of the prime-order group, multiplied by L, has small order; search for order 8.
_EIGHTH = next(
    point
    for y in range(2, 50)
    if (found := decode(y.to_bytes(32, "little"))) is not None
    and times(4, point := times(L, found)) != IDENTITY
)
TORSION: tuple[Point, ...] = tuple(times(n, _EIGHTH) for n in range(8))
"""The eight points of small order: TORSION[n] is n times a point of order 8."""


def encodings(point: Point) -> tuple[bytes, ...]:
    """All byte strings that `decode` reads as `point`, the canonical one first."""
    canonical = encode(point)
    x, y = point
    ys = [y] + ([y + P] if y + P < 2**255 else [])
    signs = (0, 1) if x == 0 else (x & 1,)
    found = [(value | sign << 255).to_bytes(32, "little") for value in ys for sign in signs]
    return (canonical, *(data for data in found if data != canonical))


def challenge(r: bytes, key: bytes, signed: bytes) -> int:
    """The hash h of RFC 8032, over the given bytes, without encoding the points again."""
    return int.from_bytes(sha512(r + key + signed).digest(), "little") % L


def secret_of(seed: bytes) -> int:
    """The secret scalar of a seed (32 bytes)."""
    digest = bytearray(sha512(seed).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return int.from_bytes(digest, "little")


_SMALL = frozenset(data for point in TORSION for data in encodings(point))


def verifies(signature: bytes, key: bytes, signed: bytes) -> bool:
    """Whether a signature keeps all four rules of "Signature" in SPEC.md."""
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    point = decode(key)
    if s >= L or r in _SMALL or point is None or key in _SMALL or key != encode(point):
        return False
    h = challenge(r, key, signed)
    return encode(add(times(s, BASE), negative(times(h, point)))) == r


def usable(key: bytes) -> bool:
    """Whether `data` is the canonical encoding of a prime-order point other than the identity."""
    point = decode(key)
    if point is None or key != encode(point) or point == IDENTITY:
        return False
    return times(L, point) == IDENTITY


def holds_with_cofactor(signature: bytes, key: bytes, signed: bytes) -> bool:
    """Whether the equation times 8 holds, as lenient libraries check it, for any encodings."""
    r, point = decode(signature[:32]), decode(key)
    if r is None or point is None:
        return False
    h = challenge(signature[:32], key, signed)
    s = int.from_bytes(signature[32:], "little")
    left = times(8 * s, BASE)
    return left == times(8, add(r, times(h, point)))
