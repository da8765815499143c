"""Computes the names of a user's files and folders, and creates none of them.

If the caller gives `home`, or else if METHRICS_HOME is set, that one folder is used for data and
settings. Otherwise the platform's folders are used (XDG on Linux and BSD, the Library on macOS).

    <data>/<label>-<short key>/outbox.db     what was recorded and what was released
    <data>/<label>-<short key>/publisher.lock
    <config>/consent.json                    the user's answers, for all apps
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

POLICY_FILE = "/etc/methrics/policy.json"
"""The policy of the system's owner, which overrides the choices of users and apps (DEB-5)."""


class Paths:
    """Absolute paths of one user's folders. `home`: the one folder for data and settings, or None
    if the platform's folders are used."""

    __slots__ = ("config", "data", "home", "policy")

    def __init__(
        self, data: str, config: str, policy: str = POLICY_FILE, home: str | None = None
    ) -> None:
        self.data = data
        self.config = config
        self.policy = policy
        self.home = home

    @property
    def ledger(self) -> str:
        """The file of the consent ledger."""
        return os.path.join(self.config, "consent.json")

    def namespace(self, namespace: str) -> str:
        """The folder of one namespace (`<label>-<short key>`)."""
        return os.path.join(self.data, namespace)

    def outbox(self, namespace: str) -> str:
        """The file of one namespace's outbox."""
        return os.path.join(self.data, namespace, "outbox.db")

    def publisher_lock(self, namespace: str) -> str:
        """The lock file of one namespace. A running publisher holds its lock."""
        return os.path.join(self.data, namespace, "publisher.lock")


def user_paths(
    home: str | os.PathLike[str] | None = None,
    *,
    env: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
    policy: str = POLICY_FILE,
) -> Paths:
    """Returns the folders in `home`, or those of this user if it is None. Reads and writes no
    file."""
    chosen = os.fspath(home) if home is not None else env.get("METHRICS_HOME", "")
    if chosen:
        folder = os.path.abspath(os.path.expanduser(chosen))
        return Paths(folder, folder, policy, folder)
    user = os.path.expanduser("~")
    if platform == "darwin":
        library = os.path.join(user, "Library", "Application Support", "methrics")
        return Paths(library, library, policy)
    data = _xdg(env, "XDG_DATA_HOME", os.path.join(user, ".local", "share"))
    config = _xdg(env, "XDG_CONFIG_HOME", os.path.join(user, ".config"))
    return Paths(os.path.join(data, "methrics"), os.path.join(config, "methrics"), policy)


def _xdg(env: Mapping[str, str], name: str, default: str) -> str:
    # The XDG base directory specification: a relative path must be ignored.
    value = env.get(name, "")
    return value if os.path.isabs(value) else default


def namespace_of(label: str, short_key: str) -> str:
    """Returns the namespace `<label>-<short key>`, as in folder names, the ledger and the topic."""
    return f"{label}-{short_key}"
