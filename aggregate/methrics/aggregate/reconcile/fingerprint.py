"""Sorted ids of one day, and the fingerprints of any range of them.

The fingerprint of a set of ids is the XOR of SipHash-2-4 (64 bits) of each id, with the session's
salt as key. The asking side draws the salt when the answering side's set is fixed already, so
nobody can choose ids whose fingerprints cancel. SipHash is a keyed function that is made for this,
and every language has it; a few vector operations compute it for a million ids at once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from methrics.aggregate.reconcile.wire import CHILDREN, ID_SIZE, Part
from methrics.aggregate.store.sorted_ids import sorted_rows

_Words = npt.NDArray[np.uint64]

_CHUNK = 16_384
"""Ids that are hashed at once: their words stay in the processor's cache."""


def siphash(words: _Words, key: bytes) -> _Words:
    """Return SipHash-2-4 of each row of `words`: four 64-bit numbers, little-endian, that are the
    32 bytes of an id. `key` has 16 bytes."""
    pieces = [_siphash(words[at : at + _CHUNK], key) for at in range(0, len(words), _CHUNK)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint64)


def _siphash(words: _Words, key: bytes) -> _Words:
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    starts = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    v0, v1, v2, v3 = (
        np.full(len(words), start ^ half, np.uint64)
        for start, half in zip(starts, (k0, k1, k0, k1), strict=True)
    )
    spare = np.empty_like(v0)

    def turn(v: _Words, bits: int) -> None:
        np.right_shift(v, np.uint64(64 - bits), out=spare)
        np.left_shift(v, np.uint64(bits), out=v)
        np.bitwise_or(v, spare, out=v)

    def mix(a: _Words, b: _Words, bits: int) -> None:
        np.add(a, b, out=a)
        turn(b, bits)
        np.bitwise_xor(b, a, out=b)

    def rounds(count: int) -> None:
        for _ in range(count):
            mix(v0, v1, 13)
            turn(v0, 32)
            mix(v2, v3, 16)
            mix(v0, v3, 21)
            mix(v2, v1, 17)
            turn(v2, 32)

    length = np.full(len(words), ID_SIZE << 56, np.uint64)
    for word in (*(np.ascontiguousarray(words[:, i]) for i in range(4)), length):
        np.bitwise_xor(v3, word, out=v3)
        rounds(2)
        np.bitwise_xor(v0, word, out=v0)
    np.bitwise_xor(v2, np.uint64(0xFF), out=v2)
    rounds(4)
    return v0 ^ v1 ^ v2 ^ v3


def fingerprint(ids: Iterable[bytes], salt: bytes) -> int:
    """Return the fingerprint of a set of ids under a salt."""
    words = np.frombuffer(b"".join(ids), "<u8").reshape(-1, 4)
    return int(np.bitwise_xor.reduce(siphash(words, salt)))


class IdIndex:
    """The ids of one day. `data`: the ids of 32 bytes, one after another, in any order."""

    def __init__(self, data: bytes | memoryview) -> None:
        rows = sorted_rows(data)
        self._data = rows.tobytes()
        self._first = rows[:, 0].astype(np.uint64)
        self._salt = b""
        self._sums: _Words = np.zeros(1, np.uint64)

    def __len__(self) -> int:
        return len(self._first)

    @property
    def data(self) -> bytes:
        """The ids in ascending order, one after another."""
        return self._data

    def parts(self, prefix: str, salt: bytes) -> list[Part]:
        """Return the sixteen parts of the ids that begin with `prefix`."""
        sums = self._salted(salt)
        edges = [self._edge(prefix, i) for i in range(CHILDREN)]
        edges.append(self._end(prefix))
        return [Part(high - low, int(sums[high] ^ sums[low])) for low, high in pairwise(edges)]

    def ids(self, prefix: str = "") -> list[bytes]:
        """Return the ids that begin with `prefix`, in ascending order."""
        return [self[i] for i in range(self._edge(prefix, 0), self._end(prefix))]

    def count(self, prefix: str) -> int:
        """Return the number of ids that begin with `prefix`."""
        return self._end(prefix) - self._edge(prefix, 0)

    def lacks(self, ids: Sequence[bytes]) -> list[bytes]:
        """Return those of `ids` that are not here."""
        places = [(one, bisect_left(self, one)) for one in ids]
        return [one for one, at in places if at == len(self) or self[at] != one]

    def __getitem__(self, i: int) -> bytes:
        return self._data[i * ID_SIZE : (i + 1) * ID_SIZE]

    def _edge(self, prefix: str, digit: int) -> int:
        """Return the place of the first id that is not below `prefix` and one more digit."""
        text = prefix + "0123456789abcdef"[digit]
        if len(text) <= 16:
            return int(np.searchsorted(self._first, np.uint64(int(text.ljust(16, "0"), 16))))
        return bisect_left(self, bytes.fromhex(text[: 2 * ID_SIZE].ljust(2 * ID_SIZE, "0")))

    def _end(self, prefix: str) -> int:
        """Return the place after the last id that begins with `prefix`."""
        bare = prefix.rstrip("f")
        if not bare:
            return len(self)
        following = bare[:-1] + "0123456789abcdef"["0123456789abcdef".index(bare[-1]) + 1]
        if len(following) <= 16:
            start = np.uint64(int(following.ljust(16, "0"), 16))
            return int(np.searchsorted(self._first, start))
        return bisect_left(self, bytes.fromhex(following.ljust(2 * ID_SIZE, "0")))

    def _salted(self, salt: bytes) -> _Words:
        """Return the running XOR of the hashes, so that a range costs two lookups."""
        if salt != self._salt:
            hashes = siphash(np.frombuffer(self._data, "<u8").reshape(-1, 4), salt)
            self._sums = np.zeros(len(self) + 1, np.uint64)
            np.bitwise_xor.accumulate(hashes, out=self._sums[1:])
            self._salt = salt
        return self._sums
