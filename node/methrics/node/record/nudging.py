"""Starts a publisher for an app if a report is due, while the app runs and when it exits."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from methrics.node.clock import Clock
from methrics.node.paths import Paths
from methrics.node.process.loading import loading


class Nudge(NamedTuple):
    """The publisher of one app. `relays`: the app's relays, used if the user names none."""

    paths: Paths
    namespace: str
    clock: Clock
    relays: tuple[str, ...]

    def nudge(self, *, inline: bool) -> None:
        """Starts the publisher if a report is due and none runs. `inline`: checks in this thread,
        for an app that exits. The module is loaded here, because an app without consent does not
        need it."""
        with loading.hold():
            from methrics.node.publish.spawn import nudge

        nudge(self.paths, self.namespace, self.clock, self.relays, inline=inline)

    def leave(self) -> None:
        """Checks once more when the app exits. Never raises, although modules may be gone then."""
        with contextlib.suppress(Exception):
            self.nudge(inline=True)
