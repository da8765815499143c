"""The settings with which an app opens a recorder, and their checks.

A recorder and a publisher read these environment variables: METHRICS_HOME (paths.py), DO_NOT_TRACK,
METHRICS and those of CI (consent/decide.py). No variable can turn recording on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sized
from itertools import islice
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
    user names no relay. `catalog_file`: the path of the catalog, "" if the app passed its bytes; it
    is named in commands that a person can type.
    """

    app_version: str | None = None
    environment: str = PRODUCTION
    sampling: Mapping[str, int] = {}
    publisher: str = "process"
    strict: bool = False
    relays: tuple[str, ...] = ()
    catalog_file: str = ""

    @classmethod
    def of(
        cls,
        *,
        app_version: object = None,
        environment: object = PRODUCTION,
        sampling: object = None,
        publisher: object = "process",
        strict: object = False,
        relays: object = (),
        catalog: object = b"",
    ) -> RecorderSettings:
        """Returns the settings for arguments of any type. A `sampling` or `relays` that is None or
        empty stands for none. Copies both, so that later changes by the app have no effect.

        Raises ConfigError for a value of a wrong type or out of range, and what the methods of the
        arguments raise.
        """
        if app_version is not None and not isinstance(app_version, str):
            raise _bad("app_version must be a str", "such as '1.4'")
        if not isinstance(environment, str) or not environment:
            raise _bad("environment must be a name", "such as 'production' or 'test'")
        if not isinstance(publisher, str) or publisher not in PUBLISHERS:
            raise _bad(f"no such publisher: {publisher!r:.80}", f"one of {', '.join(PUBLISHERS)}")
        if strict is not None and not isinstance(strict, bool):
            raise _bad("strict must be True or False")
        taken = _sampling(sampling), publisher, strict is True, _relays(relays)
        return cls(app_version, environment, *taken, _file_name(catalog))


def _file_name(catalog: object) -> str:
    """Returns the absolute path of the catalog's file; "" for its bytes, and for any other value,
    of which `open` complains when it reads the catalog."""
    if isinstance(catalog, bytes) or not isinstance(catalog, str | os.PathLike):
        return ""
    try:
        return os.path.abspath(os.fsdecode(catalog))
    except (OSError, TypeError, ValueError):  # the working directory is gone, or no path
        return ""


def _sampling(given: object) -> Mapping[str, int]:
    if given is None or (isinstance(given, Sized) and not len(given)):
        return {}
    if not isinstance(given, Mapping):
        raise _bad("sampling must be a dict", "such as {'signin': 10}")
    for name, one_in in given.items():
        if type(one_in) is not int or one_in < 1:
            raise _bad(f"sampling[{name!r:.80}] must be a whole number, 1 or more")
    return dict(given)


def _relays(given: object) -> tuple[str, ...]:
    if given is None or (isinstance(given, Sized) and not len(given)):
        return ()
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise _bad("relays must be a list of addresses")
    from methrics.node.publish.entry import ADDRESSES_MAX, check_relays

    relays = tuple(islice(given, ADDRESSES_MAX + 1))
    if not all(isinstance(one, str) for one in relays):
        raise _bad("relays must be a list of addresses")
    return check_relays(relays)


def _bad(message: str, hint: str = "") -> ConfigError:
    return ConfigError("bad-setting", message, hint)
