"""The protocols of everything that declares event types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from methrics.schema.catalog.event_type import EventType


class Declares(Protocol):
    """Anything that declares event types: a catalog or its source."""

    @property
    def types(self) -> Mapping[str, EventType]:
        """Return the event types by name."""
        ...


class Publishes(Declares, Protocol):
    """A catalog or its source, which also names an address for the results."""

    @property
    def results(self) -> str:
        """Return the address at which the results can be seen, "" if there is none."""
        ...
