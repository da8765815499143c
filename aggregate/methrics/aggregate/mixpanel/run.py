"""Makes a catalog draft or a comparison of metrics from the file of an export."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from methrics.aggregate.mixpanel.activity import load as load_events
from methrics.aggregate.mixpanel.activity import plan
from methrics.aggregate.mixpanel.compare import Metric, compare
from methrics.aggregate.mixpanel.draft import draft
from methrics.aggregate.mixpanel.export import open_export, read_export
from methrics.aggregate.mixpanel.replay import SEED, replay
from methrics.aggregate.mixpanel.sketch import Summary
from methrics.aggregate.mixpanel.toml import Draft
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.store.scratch import plain_temporary
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.errors import LocalError

PROGRESS_EVERY = 10_000
"""Events between two progress messages."""

Tell = Callable[[str, int, int | None], object]
"""Called with the progress: the current task, the amount done, and the total if it is known."""

Funnels = Mapping[str, Sequence[str]]


class How(NamedTuple):
    """The options for reading an export.

    `zone` is the project's time zone; with `local`, the times in the export are in it instead of
    UTC. An event or a value gets a name in the draft if at least `least` people share it. `people`
    is the number of people that a comparison uses, None for all.
    """

    funnels: Funnels
    zone: ZoneInfo
    local: bool
    least: int
    label: str
    now: int
    people: int | None = None


class Compared(NamedTuple):
    """The result of a comparison: the metrics, the number of lines that were not read, by reason,
    and the number of events that the bridge dropped, by reason."""

    metrics: list[Metric]
    refused: Counter[str]
    dropped: Counter[str]


def make_draft(path: Path, how: How, refused: Counter[str], tell: Tell) -> tuple[Draft, Summary]:
    """Make a draft from the export at `path`; return the draft and a summary of the export.

    `refused` counts the lines that were not read. Raises StoreError, and LocalError: wrong-funnel,
    empty-export.
    """
    seen = Summary(how.least)
    with open_export(path) as file:
        for one in read_export(file, refused, local=how.zone if how.local else None):
            seen.add(one)
            if not seen.n % PROGRESS_EVERY:
                tell("reading", seen.n, None)
    _check(path, seen.n)
    return draft(seen, label=how.label, now=how.now, funnels=how.funnels), seen


def make_comparison(path: Path, signed: Catalog | None, how: How, tell: Tell) -> Compared:
    """Measure the metrics of the export at `path` by Mixpanel's definitions and by views here.

    `signed` is the app's catalog. If it is None, a catalog is drafted from the export. Raises
    StoreError, and LocalError: wrong-funnel, empty-export.
    """
    if signed is None:
        made, _ = make_draft(path, how, Counter(), tell)
        signed = load(sign(parse_source(made.source(filled=True)), SEED))
    known, refused = plan(signed), Counter[str]()
    with tempfile.TemporaryDirectory(dir=plain_temporary()) as folder:
        with open_export(path) as file:
            con = load_events(
                file,
                known,
                refused,
                zone=how.zone,
                local=how.local,
                people=how.people,
                spill=Path(folder, "spill"),
                tell=lambda n: tell("counting", n, None),
            )
        with con:
            counts = "SELECT count(DISTINCT person), count(*) FROM did"
            ((people, events),) = con.execute(counts).fetchall()
            _check(path, events)
            here = Path(folder, "here.duckdb")
            dropped = replay(con, known, here, tell=lambda n: tell("reporting", n, people))
            with open_dataset(here, floor=1) as data:
                return Compared([*compare(con, data, known, how.zone.key)], refused, dropped)


def _check(path: Path, events: int) -> None:
    if not events:
        raise LocalError(
            "empty-export", f"{path} contains no event", "name a raw event export, one event a line"
        )
