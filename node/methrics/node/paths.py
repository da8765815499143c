"""Computes the names of a user's files and folders, and creates none of them.

If the caller gives `home`, or else if METHRICS_HOME is set, that one folder is used for data and
settings. Otherwise the platform's folders are used (XDG on Linux and BSD, the Library on macOS).

    <data>/<label>-<short key>/outbox.db     what was recorded and what was released
    <data>/<label>-<short key>/publisher.lock
    <data>/<label>-<short key>/hops.json     who runs the relays, as they say
    <config>/consent.json                    the user's answers, for all apps
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from methrics.schema.errors import ConfigError

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
    home: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None = None,
    *,
    env: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
    policy: str = POLICY_FILE,
) -> Paths:
    """Returns the folders in `home`, or those of this user if it is None or empty. Reads and writes
    no file. All paths are absolute, so a later change of the working directory moves none of them.

    Raises ConfigError `no-home` if no home folder is known for this user, as in a container whose
    user has no entry in the password database; `bad-setting` if `home` or `policy` is no path.
    """
    chosen = _text(home, "home") or env.get("METHRICS_HOME", "")
    policy = _text(policy, "policy") or POLICY_FILE
    if chosen:
        folder = _absolute(chosen, env, platform)
        return Paths(folder, folder, policy, folder)
    if platform == "darwin":
        library = os.path.join(
            _user_folder(env, platform), "Library", "Application Support", "methrics"
        )
        return Paths(library, library, policy)
    data = _xdg("XDG_DATA_HOME", os.path.join(".local", "share"), env, platform)
    config = _xdg("XDG_CONFIG_HOME", ".config", env, platform)
    return Paths(os.path.join(data, "methrics"), os.path.join(config, "methrics"), policy)


def no_paths() -> Paths:
    """Returns paths under the null device, where no file can exist or be made: for a recorder that
    has no folder."""
    nowhere = os.path.join(os.path.abspath(os.devnull), "methrics")
    return Paths(nowhere, nowhere, os.path.join(nowhere, "policy.json"))


def _text(path: object, name: str) -> str:
    """Returns a path as text; "" for None. Raises ConfigError if the system cannot name it."""
    if path is None:
        return ""
    try:
        text = os.fsdecode(path)  # type: ignore[arg-type]  # any other type raises TypeError
        os.fsencode(text)
    except (TypeError, ValueError) as error:
        raise ConfigError("bad-setting", f"{name} is no path: {error}", "such as a str") from error
    if "\0" in text:
        raise ConfigError("bad-setting", f"{name} contains a zero byte", "such as a str")
    return text


def _absolute(path: str, env: Mapping[str, str], platform: str) -> str:
    if path == "~" or path.startswith(("~" + os.sep, "~/")):
        path = os.path.join(_user_folder(env, platform), path[2:])
    elif path.startswith("~"):
        path = os.path.expanduser(path)
        if path.startswith("~"):
            raise ConfigError(
                "no-home", f"no home folder is known for {path}", f"for a folder: ./{path}"
            )
    try:
        return os.path.abspath(path)
    except OSError as error:  # a relative path in a working directory that was removed
        raise ConfigError(
            "no-home",
            f"the working directory, in which {path} would be, cannot be found: {error.strerror}",
            "give an absolute path",
        ) from error


def _xdg(name: str, default: str, env: Mapping[str, str], platform: str) -> str:
    # The XDG base directory specification: a relative path must be ignored.
    value = env.get(name, "")
    return value if os.path.isabs(value) else os.path.join(_user_folder(env, platform), default)


def _user_folder(env: Mapping[str, str], platform: str) -> str:
    """Returns the user's home folder, an absolute path.

    Python's `expanduser` returns "~" itself if there is neither HOME nor an entry in the password
    database, and a relative path if HOME contains one: files would be in the working directory.
    """
    if platform == "win32":
        found = os.path.expanduser("~")
    else:
        found = env.get("HOME", "")
        if not os.path.isabs(found):
            found = _entry_folder()
    if not os.path.isabs(found):
        raise ConfigError(
            "no-home", "no home folder is known for this user", "set HOME or METHRICS_HOME"
        )
    return found


def _entry_folder() -> str:
    """Returns the home folder in the password database; "" if the user has no entry."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError, OSError):
        return ""


def namespace_of(label: str, short_key: str) -> str:
    """Returns the namespace `<label>-<short key>`, as in folder names, the ledger and the topic."""
    return f"{label}-{short_key}"
