"""The folder in which one relay keeps what must outlive a restart: its keys and what rests.

The folder is private (0700), its files are private (0600), and one process uses it at a time. A
file is replaced as a whole: it is written under another name, synced, and renamed.
"""

from __future__ import annotations

import contextlib
import os
from types import TracebackType

from methrics.node.clock import Entropy, system_entropy
from methrics.node.process.folders import make_private
from methrics.node.process.lock import FileLock
from methrics.schema.errors import ConfigError, StoreError

SEED_SIZE = 32
"""Bytes of the relay's Ed25519 seed."""

LOCK_NAME = "relay.lock"
"""The file that is locked. It also marks the folder as one of a relay."""

SEED_NAME = "identity.seed"
"""The file with the relay's Ed25519 seed, from which its peer id follows."""

PART = ".part"
"""The end of the name of a file that is not complete yet."""


class StateFolder:
    """The folder `path` of one relay, made if it does not exist, and locked until `close`.

    Raises ConfigError `state-busy` if another process uses the folder, or `state-foreign` if it has
    other files or another owner; StoreError `state-unwritable` if it cannot be made or written.
    """

    def __init__(self, path: str | os.PathLike[str], *, entropy: Entropy = system_entropy) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self._entropy = entropy
        self._lock = FileLock(self.file(LOCK_NAME))
        try:
            make_private(self.path)
            self._check()
            held = self._lock.try_acquire()
            os.chmod(self.path, 0o700)
            _sync_folder(self.path)
        except OSError as error:
            self._lock.release()
            raise self._unwritable(error) from error
        if not held:
            raise ConfigError(
                "state-busy",
                f"another relay uses {self.path}",
                "stop it, or give this one a folder of its own with --state DIR",
            )

    def _check(self) -> None:
        names = os.listdir(self.path)
        if os.stat(self.path).st_uid != os.getuid() or (names and LOCK_NAME not in names):
            raise ConfigError(
                "state-foreign",
                f"{self.path} is not a relay's folder: it has other files or another owner",
                "give an empty or a new folder with --state DIR",
            )

    def file(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return os.path.join(self.path, name)

    def seed(self) -> bytes:
        """Return the relay's Ed25519 seed (32 bytes), made at the first call and then kept.

        Raises StoreError `state-unwritable`, or `state-damaged` if the file has another size.
        """
        seed = self.read(SEED_NAME, limit=SEED_SIZE)
        if seed is None:
            seed = self._entropy(SEED_SIZE)
            self.write(SEED_NAME, seed)
        if len(seed) != SEED_SIZE:
            raise self._damaged(SEED_NAME)
        return seed

    def read(self, name: str, *, limit: int) -> bytes | None:
        """Return the content of a file; None if it does not exist. Raises StoreError
        `state-damaged` if it has more than `limit` bytes, `state-unreadable` if it cannot be
        read."""
        try:
            fd = os.open(self.file(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with os.fdopen(fd, "rb") as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(
                "state-unreadable", f"cannot read {self.file(name)}: {error.strerror}"
            ) from error
        if len(content) > limit:
            raise self._damaged(name)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Replace or make a file (0600). It survives a power cut, and is never seen half written.
        Raises StoreError `state-unwritable`."""
        part = self.file(name + PART)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.file(name))
            _sync_folder(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise self._unwritable(error) from error

    def remove(self, name: str) -> None:
        """Remove a file, if it exists. Raises StoreError `state-unwritable`."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.file(name))
            _sync_folder(self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Let another process use the folder."""
        self._lock.release()

    def __enter__(self) -> StateFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            "state-unwritable",
            f"cannot write to {self.path}: {error.strerror}",
            "the relay keeps there what rests; name a folder on a disk with room by --state DIR",
        )

    def _damaged(self, name: str) -> StoreError:
        return StoreError(
            "state-damaged",
            f"{self.file(name)} is damaged: it has another size than a relay gave it",
            "restore it from a backup, or remove it: the relay makes a new one",
        )


def _sync_folder(path: str) -> None:
    """Make the names of the files in a folder survive a power cut. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
