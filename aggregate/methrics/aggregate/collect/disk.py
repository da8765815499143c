"""Stops accepting before the disk is full, and resumes when there is room again.

A commit needs room for its log, a checkpoint for the changed pages, an export for new files. On a
full disk all of these fail, and other programs fail, too. So an aggregator stops earlier. Bundles
that arrive meanwhile are refused and not passed on. Peers have them, and they count when they come
again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import trio

from methrics.aggregate.collect.disk_use import free_space
from methrics.aggregate.collect.holding import DISK
from methrics.aggregate.collect.ingest import Ingest

LOOK_EVERY = 1.0
"""Seconds between two looks at the disk: time for some ten megabytes at the highest rate."""

MORE = 1.25
"""Accepting resumes at this multiple of the space at which it stopped, so that it does not stop and
resume with every file that is written and removed."""

UNITS = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
UNITS |= {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
"""Bytes of each unit."""

_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s?([KMGT]i?B)?", re.ASCII | re.IGNORECASE)
_SHARE = re.compile(r"(\d{1,2}(?:\.\d{1,3})?)\s?%", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeepFree:
    """How much space stays free: the smaller of both."""

    size: float = 1 << 30
    """Bytes."""
    share: float = 0.05
    """Share of the whole disk."""

    def of(self, total: int) -> int:
        """Return the bytes that stay free on a disk of `total` bytes."""
        return int(min(self.size, self.share * total))


def read_space(text: str) -> KeepFree:
    """Return what `500MiB`, `5%` or `1GiB or 5%` means. Raises ValueError with a sentence."""
    size, share = float("inf"), 1.0
    parts = text.split(" or ")
    for part in parts:
        if found := _SHARE.fullmatch(part.strip()):
            share = min(share, float(found[1]) / 100)
        elif (found := _SIZE.fullmatch(part.strip())) and (found[2] or not float(found[1])):
            size = min(size, float(found[1]) * UNITS[(found[2] or "").lower()])
        else:
            raise ValueError(f"{text!r} is no size, such as 500MiB, 5% or 0")
    return KeepFree(size, share)


class Watermark:
    """Whether the disk counts as full (pure)."""

    def __init__(self, keep: KeepFree) -> None:
        self._keep = keep
        self.full = False

    def look(self, free: int, total: int) -> bool:
        """Note the `free` bytes of a disk of `total` bytes; return whether it counts as full."""
        least = self._keep.of(total)
        self.full = free < (least * MORE if self.full else least)
        return self.full


async def watch_disk(folder: Path, keep: KeepFree, ingest: Ingest) -> None:
    """Let `ingest` hold while the disk of `folder` counts as full, until cancelled."""
    mark = Watermark(keep)
    while keep.size and keep.share:
        try:
            free, total = await trio.to_thread.run_sync(free_space, folder)
        except OSError:
            return  # a file system that does not tell: a commit fails when it is full
        if mark.look(free, total):
            least = keep.of(total) >> 20
            ingest.hold(
                DISK, f"only {free >> 20} MiB are free on its disk, and {least} MiB stay free"
            )
        else:
            ingest.resume(DISK)
        await trio.sleep(LOOK_EVERY)
