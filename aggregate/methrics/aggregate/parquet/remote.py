"""Fetches the files of a published Parquet directory that are needed, and checks each of them.

The manifest names every file with its size and SHA-256, so a fetched file is kept by its hash and
never fetched again, and a file that is not the listed one is refused. The owner may write
meanwhile: a listed file that is gone means that the manifest has changed, so it is read again.
The `manifest.json` of a lake says how many shards there are, so it names the other manifests.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from urllib.parse import urljoin

from methrics.aggregate.parquet.fetching import (
    AbsentError,
    Progress,
    Session,
    failed,
    megabytes,
    silent,
    too_large,
)
from methrics.aggregate.parquet.lake import Shards, decode_shards, manifest_name, shards_said
from methrics.aggregate.parquet.manifest import (
    MANIFEST,
    MANIFEST_MAX,
    File,
    Manifest,
    decode_manifest,
    total_size,
)
from methrics.schema.errors import StoreError, UnreachableError
from methrics.schema.wire.shard import shards_of

AT_ONCE = 4
"""Files that are fetched at the same time: small files wait for answers, not for bytes."""

LEFT_FOR = 86_400
"""Seconds after which a kept file that the manifest no longer lists is removed. Another program may
still read it."""

_PIECE = 1024 * 1024


class StaleError(UnreachableError):
    """A listed file is gone, and the manifest has changed: what was planned has to be planned
    again."""


class RemoteDirectory:
    """A Parquet directory at an address that ends in a slash, of which some files are here.

    `folder` keeps the files by their hash; with `by_name`, by their names in the directory. At most
    `size_max` bytes are fetched. Raises what `Session.fetch` and `decode_manifest` raise.
    """

    def __init__(
        self,
        address: str,
        folder: Path,
        *,
        size_max: int,
        progress: Progress = silent,
        by_name: bool = False,
    ) -> None:
        self.address = address
        self.folder = folder
        self._size_max = size_max
        self.progress = progress
        self._by_name = by_name
        self._session = Session()
        self._checked: set[Path] = set()
        self._fetched = 0
        self.texts: dict[str, bytes] = {}
        """The bytes of all manifests that there are, by name."""
        self.shards: Shards | None = None
        """The manifests of a lake; None for the directory of one aggregator."""
        self.manifest: Manifest
        """The manifest; of a lake, that of all files."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.renew()
        except BaseException:
            self.close()
            with suppress(OSError):
                folder.rmdir()  # if it is empty
            raise

    def renew(self) -> bool:
        """Read the manifests again; return whether they have changed."""
        text = self._manifest(MANIFEST)
        count = shards_said(text)
        if self.texts and (count is None) != (self.shards is None):
            raise StoreError(
                "store-foreign", f"{self.address} is another data set now", "open it again"
            )
        texts = {MANIFEST: text}
        if count is not None:
            texts |= self._manifests(count)
        if texts == self.texts:
            return False
        if count is None:
            self.manifest = decode_manifest(text, self.address)
        else:
            of = ((one, texts.get(manifest_name(one))) for one in shards_of(count))
            shards = decode_shards(of, self.address)
            self.manifest, self.shards = shards.merged(self.address), shards
        self.texts = texts
        return True

    def _manifests(self, count: int) -> dict[str, bytes]:
        """Fetch the manifests of the shards of a lake that are there. Together they are bounded
        like that of one aggregator."""
        found: dict[str, bytes] = {}

        def fetch(name: str) -> None:
            with suppress(AbsentError):
                found[name] = self._manifest(name)
            if sum(map(len, list(found.values()))) > MANIFEST_MAX:
                raise too_large(self.address, MANIFEST_MAX)

        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as pool:
            waiting = [pool.submit(fetch, manifest_name(one)) for one in shards_of(count)]
            try:
                for one in as_completed(waiting):
                    one.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return found

    def _manifest(self, name: str) -> bytes:
        place = self._new_file()
        try:
            bound = min(MANIFEST_MAX, self._size_max)
            self._session.fetch(urljoin(self.address, name), place, size_max=bound)
            return place.read_bytes()
        finally:
            place.unlink(missing_ok=True)

    def bring(self, files: Collection[File]) -> list[Path]:
        """Return the paths of `files` on this machine, and fetch those that are not here.

        Raises StaleError if one of them is gone and the manifest, which was read again, is another;
        LocalError `download-too-large` before anything too large is fetched; StoreError
        `store-broken` for a file that is not the listed one.
        """
        missing = [one for one in files if not self._has(one)]
        if self._fetched + total_size(missing) > self._size_max:
            raise too_large(self.address, self._size_max)
        try:
            self._all(missing)
        except AbsentError as gone:
            if self.renew():
                raise StaleError(gone.code, f"{self.address} changes while it is read") from gone
            raise
        return [self._place(one) for one in files]

    def _all(self, files: list[File]) -> None:
        size, done, here = megabytes(total_size(files)), 0, 0
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as pool:
            waiting = {pool.submit(self._get, one): one for one in files}
            try:
                for one in as_completed(waiting):
                    one.result()
                    done, here = done + 1, here + waiting[one].size
                    self._fetched += waiting[one].size
                    self.progress(f"{done} of {len(files)} files, {megabytes(here)} of {size} MB")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _get(self, one: File) -> None:
        place = self._place(one)
        new = self._new_file()
        try:
            try:
                found = self._session.fetch(
                    urljoin(self.address, one.name), new, size_max=max(one.size, 1)
                )
            except UnreachableError:
                raise
            except Exception as error:
                if getattr(error, "code", "") == "download-too-large":
                    raise self._broken(one) from error
                raise
            if (found.size, found.sha256) != (one.size, one.sha256):
                raise self._broken(one)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(new, place)
            self._checked.add(place)
        finally:
            new.unlink(missing_ok=True)

    def _broken(self, one: File) -> StoreError:
        return StoreError(
            "store-broken",
            f"{self.address}{one.name} is not the file that {self._listing(one)} lists",
            "try again later, or tell whoever publishes it",
        )

    def _listing(self, one: File) -> str:
        """Return the name of the manifest that lists a file."""
        shards = {} if self.shards is None else self.shards.manifests
        names = (manifest_name(shard) for shard, own in shards.items() if one in own.files)
        return next(names, MANIFEST)

    def _has(self, one: File) -> bool:
        """Whether the file is here, with the listed content."""
        place = self._place(one)
        if place in self._checked:
            return place.exists()
        try:
            if place.stat().st_size != one.size or digest_of(place) != one.sha256:
                return False
        except OSError:
            return False
        os.utime(place)
        self._checked.add(place)
        return True

    def _place(self, one: File) -> Path:
        return self.folder / (one.name if self._by_name else f"{one.sha256}.parquet")

    def _new_file(self) -> Path:
        number, name = tempfile.mkstemp(suffix=".tmp", dir=self.folder)
        os.close(number)
        return Path(name)

    def tidy(self) -> None:
        """Remove kept files that the manifest does not list and that were not used for a day."""
        listed = {self._place(one) for one in self.manifest.files}
        new = self._new_file()  # its time is the time now, by the clock of the file system
        now = new.stat().st_mtime
        for path in _files(self.folder):
            with suppress(OSError):
                if path == new or (path not in listed and path.stat().st_mtime < now - LEFT_FOR):
                    path.unlink()

    def close(self) -> None:
        """Close the connections. What was fetched stays."""
        self._session.close()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if path.suffix in (".parquet", ".tmp"))


def settled_rounds(address: str, once: Callable[[], None], *, rounds: int = 5) -> None:
    """Call `once` until it raises no StaleError, at most `rounds` times.

    Raises UnreachableError if it still does.
    """
    for _ in range(rounds):
        try:
            once()
        except StaleError:
            continue
        return
    raise failed(address, "it changes faster than it can be fetched")
