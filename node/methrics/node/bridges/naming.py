"""From the names another library uses to those a catalog declares: one stated rule (pure).

Lower snake case: `Song Played`, `songPlayed` and `song-played` are all `song_played`. Accents go,
anything that is no letter or digit becomes `_`. A field whose name is reserved gets a `_` at its
end (`count` is `count_`). What then is no name (over 32 characters, a digit in front, nothing left)
has none, and needs an explicit mapping.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from methrics.schema.catalog.fields import RESERVED_NAMES
from methrics.schema.wire.reading import is_name

SOURCE_MAX = 255
"""Characters of a name that is looked at; Mixpanel takes no longer ones."""

IDENTIFIERS = frozenset(
    {
        *("token", "distinct_id", "$distinct_id", "$distinct_ids", "$distinct_id_before_identity"),
        *("$insert_id", "$device_id", "$user_id", "$anon_id", "$anon_distinct_id", "alias"),
        *("$identified_id", "$token", "$group_key", "$group_id", "$ip", "ip", "time", "$time"),
        *("$email", "$name", "$first_name", "$last_name", "$phone", "$avatar", "$username"),
        *("$latitude", "$longitude", "$ios_ifa", "$ios_device_token", "$android_devices"),
    }
)
"""Properties that name a person, a machine, an event or a project: no mapping lets them through."""

IDENTITY_EVENTS = frozenset({"$identify", "$create_alias", "$merge"})
"""Events that join ids, and say nothing else."""


def is_reserved(name: str) -> bool:
    """Whether Mixpanel's own libraries or server made this property: only a mapping uses it."""
    return name.startswith(("$", "mp_"))


def type_name(event: str) -> str | None:
    """The event type an event of this name belongs to, None if the rule gives no name."""
    return _type_name(event) if len(event) <= SOURCE_MAX else None


def field_name(key: str) -> str | None:
    """The field a property of this name belongs to, None if the rule gives no name."""
    return _field_name(key) if len(key) <= SOURCE_MAX else None


# The same few names come again and again; long ones are not remembered.


@lru_cache(maxsize=2048)
def _type_name(event: str) -> str | None:
    if event.startswith("$"):
        return None
    name = _snake(event)
    return name if is_name(name) else None


@lru_cache(maxsize=2048)
def _field_name(key: str) -> str | None:
    if is_reserved(key) or key in IDENTIFIERS:
        return None
    name = _snake(key)
    if name in RESERVED_NAMES:
        name += "_"
    return name if is_name(name) else None


def _snake(text: str) -> str:
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text)
    text = re.sub(r"([A-Z])([A-Z][a-z])", r"\1_\2", text)
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower()
