"""The settings with which an app opens a recorder, and their checks.

A recorder and a publisher read these environment variables: METHRICS_HOME (paths.py), DO_NOT_TRACK,
METHRICS and those of CI (consent/decide.py). No variable can turn recording on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from methrics.node.consent.decide import PRODUCTION
from methrics.schema.errors import ConfigError

PUBLISHERS = ("process", "none")
"""`process`: the recorder starts a publisher process when a report is due. `none`: it starts no
publisher; the app, cron or a test publishes."""


class RecorderSettings(NamedTuple):
    """The settings of one recorder.

    `app_version`: value of a field `version` that the app leaves out. `environment`: events are
    recorded only in "production" (DEB-2). `sampling`: event type -> n, to record one event in n;
    the catalog must allow that n (KPI-6). `publisher`: one of `PUBLISHERS`. `strict`: wrong use
    raises LocalError. `relays`: full multiaddresses of the relays that get the app's reports if the
    user names no relay.
    """

    app_version: str | None = None
    environment: str = PRODUCTION
    sampling: Mapping[str, int] = {}
    publisher: str = "process"
    strict: bool = False
    relays: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises ConfigError for a value of a wrong type or out of range."""
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
