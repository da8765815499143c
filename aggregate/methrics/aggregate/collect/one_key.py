"""Notices two aggregators with one peer key, such as after somebody has copied a folder.

They would have one peer id: peers would take the one for the other, and their manifests would
contradict each other, so that neither has a vote.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from methrics.aggregate.closing.trust import Trust
from methrics.aggregate.store.scratch import plain_temporary
from methrics.node.network.peer_ids import peer_id_of
from methrics.node.process.lock import FileLock
from methrics.schema.errors import ConfigError
from methrics.schema.wire.envelope import public_key

HINT = "remove the copied key file; a new key is made at the next start"


@contextmanager
def only_with_key(seed: bytes, peers: Sequence[str], trust: Trust) -> Iterator[None]:
    """Keep other aggregators of this user on this machine off the peer key of `seed`, until the
    block or the process ends.

    Raises ConfigError `key-in-use` if one of them has it, or if it is that of one of `peers`
    (addresses) or of a trusted peer, which is another aggregator.
    """
    key = public_key(seed)
    own = peer_id_of(key)
    if key in trust.voters or any(peer.endswith(f"/p2p/{own}") for peer in peers):
        raise ConfigError("key-in-use", f"a named peer has this aggregator's own key: {own}", HINT)
    path = plain_temporary() / f"methrics-key-{os.getuid()}-{own[-16:]}.lock"
    lock = FileLock(str(path))
    free = True
    with suppress(OSError):  # nothing can be written there: then nothing is noticed
        free = lock.try_acquire()
    if not free and _is_own(path):
        raise ConfigError(
            "key-in-use", f"another aggregator on this machine has the same key: {own}", HINT
        )
    try:
        yield
    finally:
        lock.release()


def _is_own(path: Path) -> bool:
    """Whether nobody but this user can have made and locked the file `path`. The folder is shared,
    and the peer id is public: another user may hold a lock of this name for ever."""
    try:
        found = path.lstat()
    except OSError:
        return False
    private = not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and found.st_nlink == 1
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and private
