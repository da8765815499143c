"""Finds the frames in the bytes of a spool file, also behind damage (pure)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from zlib import crc32

from methrics.node.spool.frames import HEAD, MARK, PAYLOAD_MAX


@dataclass(slots=True)
class Scanned:
    """The frames found in a stretch of a file.

    `frames`: (offset behind the frame and its tail, payload, offset of the tail). `end`: the offset
    up to which the stretch is settled; a frame that may still be growing begins there. `damaged`:
    how many stretches between frames hold bytes that are neither a frame nor zeros.
    """

    frames: list[tuple[int, bytes, int]] = field(default_factory=list)
    end: int = 0
    damaged: int = 0


def scan(
    data: bytes, base: int = 0, tail: Callable[[bytes], int] | None = None, *, final: bool = False
) -> Scanned:
    """Finds all valid frames in `data`, which begins at offset `base` of the file.

    `tail`: returns the number of bytes that follow a frame with this payload and belong to it.
    `final`: the file does not grow any more, so an unfinished frame at its end is damage.
    """
    found = Scanned()
    at, size = 0, len(data)
    while at < size:
        one = _frame_at(data, at, tail)
        if one is None:
            start, at = at, _next_frame(data, at + 1, tail)
            if at < 0:
                at = size if final else _growing(data, start)
                found.damaged += data.count(0, start, at) != at - start
                break
            found.damaged += data.count(0, start, at) != at - start
            continue
        end, payload, value = one
        found.frames.append((base + end, payload, base + value))
        at = end
    found.end = base + at
    return found


def _frame_at(
    data: bytes, at: int, tail: Callable[[bytes], int] | None
) -> tuple[int, bytes, int] | None:
    """Returns (end with tail, payload, start of the tail) of the whole, valid frame at `at`. The
    tail is shorter than `tail` returns if another frame begins in it."""
    if not data.startswith(MARK, at) or at + HEAD.size > len(data):
        return None
    _, length, checksum = HEAD.unpack_from(data, at)
    start = at + HEAD.size
    end = start + length
    if not 0 < length <= PAYLOAD_MAX or end > len(data):
        return None
    payload = data[start:end]
    if crc32(payload) != checksum:
        return None
    behind = end + (tail(payload) if tail is not None else 0)
    if behind > len(data):
        return None
    # A full disk may have cut the tail, so that the next frame begins in it.
    last = behind + len(MARK) - 1
    at = data.find(MARK, end, last)
    while at >= 0 and _frame_at(data, at, None) is None:
        at = data.find(MARK, at + 1, last)
    return (at if at >= 0 else behind), payload, end


def _next_frame(data: bytes, at: int, tail: Callable[[bytes], int] | None) -> int:
    """Returns where the next valid frame begins, -1 if there is none."""
    while (at := data.find(MARK, at)) >= 0:
        if _frame_at(data, at, tail) is not None:
            return at
        at += 1
    return -1


def _growing(data: bytes, start: int) -> int:
    """Returns where a frame begins that may still be growing: the last marker, or a beginning of
    one at the very end; the size of `data` if there is none."""
    last = data.rfind(MARK, start)
    if last >= 0:
        return last
    for length in range(min(len(MARK) - 1, len(data) - start), 0, -1):
        if data.endswith(MARK[:length]):
            return len(data) - length
    return len(data)
