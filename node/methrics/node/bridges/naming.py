"""The rule that converts names of another library into names of a catalog (pure).

Names become lower snake case: `Song Played`, `songPlayed` and `song-played` are all `song_played`.
Accents are removed, and all other characters but letters and digits become `_`. A reserved field
name gets a `_` at its end (`count` becomes `count_`). If the result is not a valid name (it is
empty, has more than 32 characters, or begins with a digit), an explicit mapping is needed.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from methrics.schema.catalog.fields import RESERVED_NAMES
from methrics.schema.wire.reading import is_name

SOURCE_MAX = 255
"""Most characters of a name that the rule converts; Mixpanel has the same limit."""

IDENTIFIERS = frozenset(
    {
        *("token", "distinct_id", "$distinct_id", "$distinct_ids", "$distinct_id_before_identity"),
        *("$insert_id", "$device_id", "$user_id", "$anon_id", "$anon_distinct_id", "alias"),
        *("$identified_id", "$token", "$group_key", "$group_id", "$ip", "ip", "time", "$time"),
        *("$email", "$name", "$first_name", "$last_name", "$phone", "$avatar", "$username"),
        *("$latitude", "$longitude", "$ios_ifa", "$ios_device_token", "$android_devices"),
    }
)
"""Properties that identify a person, a machine, an event or a project, and those with a time. No
mapping may use them."""

IDENTITY_EVENTS = frozenset({"$identify", "$create_alias", "$merge"})
"""Events whose only purpose is to link two ids of one person."""


def is_reserved(name: str) -> bool:
    """Whether Mixpanel's libraries or server made this property. If so, only an explicit mapping
    may use it."""
    return name.startswith(("$", "mp_"))


def type_name(event: str) -> str | None:
    """Returns the event type for an event of this name, or None if the rule gives no valid name."""
    return _type_name(event) if len(event) <= SOURCE_MAX else None


def field_name(key: str) -> str | None:
    """Returns the field for a property of this name, or None if the rule gives no valid name."""
    return _field_name(key) if len(key) <= SOURCE_MAX else None


# An app uses the same few names again and again, so they are cached; long names are not.


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
