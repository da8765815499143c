"""Reads a Mixpanel raw export: untrusted JSON Lines, one event per line, in bounded memory.

The Raw Event Export API (docs.mixpanel.com/reference/raw-event-export) writes lines such as
`{"event": "Song Played", "properties": {"time": 1602611311, "distinct_id": "…", …}}`. `time` is in
seconds, or in milliseconds with the option `time_in_ms`. In projects created before 2023, `time`
may be in the project's time zone instead of UTC. An export contains duplicates, which Mixpanel
removes when it answers a query.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, NamedTuple, cast
from zoneinfo import ZoneInfo

from methrics.aggregate.store.duck import translated_errors
from methrics.node.bridges.naming import IDENTITY_EVENTS
from methrics.schema.errors import StoreError

LINE_MAX = 1_048_576
"""Maximum length of a line in bytes. Mixpanel accepts no larger event."""

TIME_RANGE = (946_684_800, 4_102_444_800)
"""The valid times in Unix seconds, years 2000 to 2100. Other times come from wrong clocks."""

MILLISECONDS = 100_000_000_000
"""From this number on, times are read as milliseconds. As seconds they would be in the year 5138
or later."""

REASONS = {
    "oversize": "longer than a mebibyte",
    "not-json": "not JSON, or cut short",
    "damaged": "the packed file is cut short or damaged, and ends here",
    "terminated-early": "Mixpanel's note that the export is incomplete",
    "no-event": "not an object with a text `event` and an object `properties`",
    "no-time": "no `time`, or one outside the years 2000 to 2100",
    "repeated": "sent twice: same event, distinct_id, time and $insert_id",
    "identity": "$identify, $create_alias or $merge: joins ids, and is not an activity",
}
"""The reasons why a line is not read as an event, with their explanations."""


class Tracked(NamedTuple):
    """One event of an export. `person` is a 64-bit hash of the distinct_id, so that no id is kept;
    None if the event has no distinct_id. `time` is in Unix seconds."""

    event: str
    person: int | None
    time: int
    insert_id: str | None
    properties: dict[str, Any]


def open_export(path: Path) -> AbstractContextManager[IO[bytes]]:
    """Open an export for reading; a file whose name ends in .gz is unpacked. Raises StoreError."""
    if not path.exists():
        raise StoreError(
            "store-missing", f"{path} is not there", "name a raw event export of Mixpanel"
        )
    with translated_errors(path):
        if path.suffix == ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        return path.open("rb")


def read_export(
    file: IO[bytes], refused: Counter[str], *, local: ZoneInfo | None = None
) -> Iterator[Tracked]:
    """Yield the events of `file` in order; `refused` counts the other lines by reason (`REASONS`).

    `local` is the time zone of the times in the file; None means UTC.
    """
    offsets: dict[int, int] = {}
    for line in _lines(file, refused):
        if line == b"terminated early":
            refused["terminated-early"] += 1
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            refused["not-json"] += 1
            continue
        event = _tracked(found, refused)
        if event is not None:
            if local is not None:
                event = event._replace(time=event.time - _offset(event.time, local, offsets))
            yield event


def _lines(file: IO[bytes], refused: Counter[str]) -> Iterator[bytes]:
    """Yield the lines without line ends. Empty lines and lines over the limit are left out."""
    first = True
    while line := _read_line(file, LINE_MAX + 1, refused):
        if len(line) > LINE_MAX and not line.endswith(b"\n"):
            refused["oversize"] += 1
            while (rest := _read_line(file, LINE_MAX, refused)) and not rest.endswith(b"\n"):
                pass
        else:
            text = (line.removeprefix(b"\xef\xbb\xbf") if first else line).strip()
            if text:
                yield text
        first = False


def _read_line(file: IO[bytes], most: int, refused: Counter[str]) -> bytes:
    """Read the next line. Where a packed file is damaged, returns an empty line and counts it."""
    try:
        return file.readline(most)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        refused["damaged"] = 1
        return b""


def _tracked(found: object, refused: Counter[str]) -> Tracked | None:
    event = found.get("event") if isinstance(found, dict) else None
    properties = found.get("properties") if isinstance(found, dict) else None
    if not isinstance(event, str) or not isinstance(properties, dict):
        refused["no-event"] += 1
        return None
    if event in IDENTITY_EVENTS:
        refused["identity"] += 1
        return None
    time = properties.get("time")
    if not isinstance(time, int | float) or isinstance(time, bool):
        refused["no-time"] += 1
        return None
    seconds = time / 1000 if time >= MILLISECONDS else time
    if not TIME_RANGE[0] <= seconds < TIME_RANGE[1]:  # NaN is never in range
        refused["no-time"] += 1
        return None
    insert_id = properties.get("$insert_id")
    return Tracked(
        event,
        person_of(properties.get("distinct_id")),
        int(seconds),
        insert_id if isinstance(insert_id, str) and insert_id else None,
        properties,
    )


def person_of(distinct_id: object) -> int | None:
    """Return a 64-bit hash of a distinct_id; None if it is empty or not a text or number."""
    if distinct_id is None or distinct_id == "" or isinstance(distinct_id, bool | list | dict):
        return None
    return hashed(str(distinct_id))


def hashed(text: str) -> int:
    """Return a 64-bit hash, which is the same in every process."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _offset(wall: int, zone: ZoneInfo, known: dict[int, int]) -> int:
    """Return the seconds by which the zone is ahead of UTC when its clocks show `wall`.

    Clocks change at quarters of an hour, so the cache `known` has one entry for each of them.
    """
    quarter = wall // 900
    offset = known.get(quarter)
    if offset is None:
        shown = datetime.fromtimestamp(quarter * 900, UTC).replace(tzinfo=zone)
        delta = shown.utcoffset()
        offset = known[quarter] = int(delta.total_seconds()) if delta is not None else 0
    return offset


def count_reasons(refused: Counter[str]) -> Iterable[tuple[str, int, str]]:
    """Return (reason, number of lines, explanation) for each reason, most lines first."""
    return [(reason, n, REASONS[reason]) for reason, n in refused.most_common() if n]
