"""Keeps what a publisher learned about the relays of an app, for the words before a consent.

    <data>/<label>-<short key>/hops.json
        {"version": 1, "entry": "Ann", "exits": ["Bob", ""], "doubt": ""}

The file is private to the user (0600) and replaced as a whole. A publisher writes it after a visit,
so never before a consent. It contains what relays claim of themselves, and no report. Each app has
its own, because the exits differ by topic, and an app may name relays.
"""

from __future__ import annotations

import contextlib
import json
import os

from methrics.node.consent.ledger_file import write_text
from methrics.node.consent.route_words import DOUBTS, NOT_KNOWN, Hops, route_words
from methrics.node.paths import Paths
from methrics.node.process.regular import read_regular

FILE_MAX = 65_536
"""Most bytes of the file that are read."""

EXITS_MAX = 128
"""Most operators of exits that are kept; as many relays as one reply describes."""

OPERATOR_MAX = 64
"""Most characters of an operator's name, as in a descriptor."""

VERSION = 1


def load_hops(paths: Paths, namespace: str) -> Hops:
    """Returns what is known for an app: nothing if the file is missing, unreadable or damaged.
    Never raises."""
    try:
        return parse(read_regular(_path(paths, namespace), FILE_MAX + 1))
    except (OSError, ValueError):
        return NOT_KNOWN


def seen_words(paths: Paths, namespace: str) -> str:
    """Returns who sees the reports of an app and who the network address; "" if nothing is known
    about its relays."""
    hops = load_hops(paths, namespace)
    return "" if hops == NOT_KNOWN else route_words(hops).first


def save_hops(paths: Paths, namespace: str, hops: Hops) -> None:
    """Replaces what is known. Nothing happens if it is the same already, if the app has no folder,
    or if the file cannot be written: then the words say less. Never raises."""
    text = dump(hops)
    if load_hops(paths, namespace) == parse(text.encode()):
        return
    with contextlib.suppress(OSError):
        write_text(_path(paths, namespace), text)


def dump(hops: Hops) -> str:
    """Returns the content of the file."""
    document = {
        "version": VERSION,
        "entry": hops.entry,
        "exits": sorted(set(hops.exits))[:EXITS_MAX],
        "doubt": hops.doubt,
    }
    return json.dumps(document, indent=1)


def parse(data: bytes) -> Hops:
    """Returns what a file contains. Raises ValueError if it is not exactly such a file."""
    if len(data) > FILE_MAX:
        raise ValueError("too large")
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(document, dict) or document.keys() != {"version", "entry", "exits", "doubt"}:
        raise ValueError("not a file of hops")
    entry, exits, doubt = document["entry"], document["exits"], document["doubt"]
    if document["version"] != VERSION or doubt not in DOUBTS:
        raise ValueError("unknown version or doubt")
    if not isinstance(exits, list) or len(exits) > EXITS_MAX:
        raise ValueError("not a list of operators")
    for name in (*exits, "" if entry is None else entry):
        if not isinstance(name, str) or len(name) > OPERATOR_MAX:
            raise ValueError("not the name of an operator")
    return Hops(entry, tuple(exits), doubt)


def _path(paths: Paths, namespace: str) -> str:
    return os.path.join(paths.namespace(namespace), "hops.json")
