"""Makes and reads key files: one line of 64 hex digits (an Ed25519 seed), only for the owner.

A key file contains a namespace key, or the key by which others identify a relay or aggregator.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from methrics.schema.errors import ConfigError, StoreError

SEED_SIZE = 32
"""Bytes of an Ed25519 seed."""

_LINE = re.compile(r"[0-9a-f]{64}\n?")


def make_key(path: Path) -> bytes:
    """Writes a new seed (32 bytes) to a new file with mode 0600, and returns it.

    Raises ConfigError if the file exists, StoreError if it cannot be written.
    """
    seed = os.urandom(SEED_SIZE)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(seed.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise ConfigError(
            "key-exists",
            f"{path} exists already",
            "a lost namespace key cannot be replaced: keep it, or name another file",
        ) from None
    except OSError as error:
        raise StoreError("key-unwritable", f"cannot write {path}: {error.strerror}") from error
    return seed


def own_key(path: Path) -> bytes:
    """Returns the seed in a key file. Makes the file if it does not exist, or is empty: a process
    that was killed when it made the file leaves it so.

    Raises ConfigError if the file is no key file or others can read it, StoreError if it cannot be
    made.
    """
    if path.is_file() and not path.stat().st_size:
        path.unlink()
    return read_key(path) if path.exists() else make_key(path)


def read_key(path: Path) -> bytes:
    """Returns the seed in a key file. Raises ConfigError if the file is no key file or others can
    read it."""
    try:
        mode = path.stat().st_mode
        text = path.read_text("ascii")
    except OSError as error:
        raise ConfigError(
            "key-unreadable",
            f"cannot read {path}: {error.strerror}",
            "make a key with `methrics namespace init`",
        ) from error
    except UnicodeDecodeError:
        text = ""
    if not _LINE.fullmatch(text):
        raise ConfigError(
            "not-a-key", f"{path} is not a key file", "it has one line of 64 hex digits"
        )
    if os.name == "posix" and mode & 0o077:
        raise ConfigError("key-exposed", f"{path} can be read by others", f"chmod 600 {path}")
    return bytes.fromhex(text.strip())
