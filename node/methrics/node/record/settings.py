"""The settings with which an app opens a recorder, checked once.

Environment names that a recorder and a publisher read: METHRICS_HOME (paths.py), DO_NOT_TRACK,
METHRICS and those of CI (consent/decide.py). None of them can turn recording on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from methrics.node.consent.decide import PRODUCTION
from methrics.schema.errors import ConfigError

PUBLISHERS = ("process", "none")
"""`process`: the recorder starts a publisher when something is due. `none`: it starts none; the
app, cron or a test publishes."""


class RecorderSettings(NamedTuple):
    """`app_version` fills a field `version` that the app leaves out. `environment`: only
    "production" is measured (DEB-2). `sampling`: event type -> one in how many is recorded, of the
    denominators that the catalog allows (KPI-6). `strict`: wrong use raises LocalError. `relays`:
    full multiaddresses by which the app's reports enter the network where the user names none."""

    app_version: str | None = None
    environment: str = PRODUCTION
    sampling: Mapping[str, int] = {}
    publisher: str = "process"
    strict: bool = False
    relays: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises ConfigError, with a hint, for values that make no sense."""
        if self.app_version is not None and not isinstance(self.app_version, str):
            raise ConfigError("bad-setting", "app_version must be a str", "such as '1.4'")
        if not isinstance(self.environment, str) or not self.environment:
            raise ConfigError(
                "bad-setting", "environment must be a name", "such as 'production' or 'test'"
            )
        if self.publisher not in PUBLISHERS:
            raise ConfigError(
                "bad-setting",
                f"no such publisher: {self.publisher!r}",
                f"one of {', '.join(PUBLISHERS)}",
            )
        if self.relays:
            from methrics.node.publish.entry import check_addresses

            check_addresses(self.relays)
        for name, one_in in self.sampling.items():
            if type(one_in) is not int or one_in < 1:
                raise ConfigError(
                    "bad-setting", f"sampling[{name!r}] must be a whole number, 1 or more"
                )
