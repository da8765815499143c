"""Reads a Mixpanel raw export: untrusted JSON Lines, one event per line, in bounded memory.

`{"event": "Song Played", "properties": {"time": 1602611311, "distinct_id": "…", …}}`, as the Raw
Event Export API gives it (docs.mixpanel.com/reference/raw-event-export): `time` in seconds, or in
milliseconds with `time_in_ms`. Projects made before 2023 may write it in the project's own time
instead of UTC. An export contains duplicates, which Mixpanel removes when it answers a query.
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
"""Bytes of a line: Mixpanel takes no larger event."""

TIME_RANGE = (946_684_800, 4_102_444_800)
"""Unix seconds, years 2000 to 2100: other times come from wrong clocks."""

MILLISECONDS = 100_000_000_000
"""Larger times are milliseconds: as seconds they would be in the year 5138 or later."""

REASONS = {
    "oversize": "longer than a mebibyte",
    "not-json": "no JSON, or cut short",
    "damaged": "the packed file is cut short or damaged, and ends here",
    "terminated-early": "Mixpanel's note that the export is not whole",
    "no-event": "no object with a text `event` and an object `properties`",
    "no-time": "no `time`, or one that no clock shows",
    "repeated": "sent twice: same event, distinct_id, time and $insert_id",
    "identity": "$identify, $create_alias or $merge: joins ids, and is no activity",
}
"""Why a line is not read as an event."""


class Tracked(NamedTuple):
    """One event. `person`: 64 bits of a hash of the distinct_id, so that no id is kept; None
    without one. `time`: unix seconds, UTC."""

    event: str
    person: int | None
    time: int
    insert_id: str | None
    properties: dict[str, Any]


def open_export(path: Path) -> AbstractContextManager[IO[bytes]]:
    """The lines of the file, unpacked if its name ends in .gz. Raises StoreError."""
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
    """The events of `file` in order; `refused` counts the other lines by reason (`REASONS`).

    `local`: the time zone in which times were written, if not in UTC.
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
    """Lines without line ends; leaves out empty lines and those over the limit."""
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
    """The next line; empty where a packed file is damaged, which is counted once."""
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
    """64 bits of a hash of a distinct_id; None without one."""
    if distinct_id is None or distinct_id == "" or isinstance(distinct_id, bool | list | dict):
        return None
    return hashed(str(distinct_id))


def hashed(text: str) -> int:
    """64 bits of a hash; the same in every process."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _offset(wall: int, zone: ZoneInfo, known: dict[int, int]) -> int:
    """Seconds that the zone is ahead of UTC when its clocks show `wall`. Zones change at quarters
    of an hour, so a cache of the answers stays small."""
    quarter = wall // 900
    offset = known.get(quarter)
    if offset is None:
        shown = datetime.fromtimestamp(quarter * 900, UTC).replace(tzinfo=zone)
        delta = shown.utcoffset()
        offset = known[quarter] = int(delta.total_seconds()) if delta is not None else 0
    return offset


def count_reasons(refused: Counter[str]) -> Iterable[tuple[str, int, str]]:
    """(reason, lines, meaning), most lines first."""
    return [(reason, n, REASONS[reason]) for reason, n in refused.most_common() if n]
