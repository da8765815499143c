"""Protocols for the two users of an outbox: an app that records, a publisher that makes reports.

`Outbox` and `Journal` implement them on disk; the simulator implements both in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from methrics.node.clock import Clock
    from methrics.node.outbox.rows import Identity, Pace, Pending, PendingRows, Receipt


class Generations(Protocol):
    """A file that may be replaced by a fresh one while it is in use."""

    @property
    def generation(self) -> int:
        """A number that changes whenever the file is opened."""
        ...


class AppOutbox(Protocol):
    """The methods of an outbox that the recorder's writer calls. `Outbox` documents each."""

    @property
    def path(self) -> str: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def database(self) -> Generations: ...
    def keep_catalog(self, catalog_id: bytes, raw: bytes) -> int: ...
    def append(
        self,
        catalog: int,
        type_name: str,
        time: int,
        due: int,
        fields: bytes,
        one_in: int = 1,
        steps: bytes | None = None,
    ) -> bool: ...
    def add(
        self,
        catalog: int,
        type_name: str,
        window: int,
        due: int,
        fields: bytes,
        n: int,
        one_in: int = 1,
    ) -> None: ...
    def set_state(
        self,
        catalog: int,
        type_name: str,
        time: int,
        due: int,
        fields: bytes,
        one_in: int = 1,
        period: int = 0,
    ) -> None: ...
    def next_due(self) -> int | None: ...
    def check(self) -> None: ...
    def close(self) -> None: ...


class PublisherJournal(Protocol):
    """The methods of a journal that a pass of the publisher calls. `Journal` documents each."""

    def pending(self, now: int, limit: int = 1000) -> PendingRows: ...
    def catalogs(self) -> dict[int, bytes]: ...
    def paces(self) -> dict[str, Pace]: ...
    def identity(self, now: int) -> Identity: ...
    def journal(
        self,
        made: Sequence[Receipt],
        consumed: Iterable[Pending],
        paces: Iterable[Pace],
        *,
        token: int,
    ) -> None: ...
    def due(self, now: int, limit: int = 1000) -> list[Receipt]: ...
    def attempt(self, indices: Iterable[int], *, counted: bool = True) -> set[int]: ...
    def mark(self, indices: Iterable[int], state: str, route: str | None = None) -> None: ...
    def postpone(self, indices: Iterable[int], due: int) -> None: ...
    def purge(self, type_name: str | None = None) -> int: ...
    def drop(self, reason: str, n: int = 1) -> None: ...
    def next_due(self) -> int | None: ...
