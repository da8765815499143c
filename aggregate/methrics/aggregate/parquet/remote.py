"""Fetches the files of a published Parquet directory that are needed, and checks each of them.

The manifest names every file with its size and SHA-256, so a fetched file is kept by its hash and
never fetched again, and a file that is not the listed one is refused. The owner may write
meanwhile: a listed file that is gone means that the manifest has changed, so it is read again.
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
from methrics.aggregate.parquet.manifest import (
    MANIFEST,
    MANIFEST_MAX,
    File,
    Manifest,
    decode_manifest,
    total_size,
)
from methrics.schema.errors import StoreError, UnreachableError

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
        self._progress = progress
        self._by_name = by_name
        self._session = Session()
        self._text = b""
        self._checked: set[Path] = set()
        self._fetched = 0
        self.manifest: Manifest
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.renew()
        except BaseException:
            self.close()
            with suppress(OSError):
                folder.rmdir()  # if it is empty
            raise

    @property
    def text(self) -> bytes:
        """The manifest's bytes."""
        return self._text

    def renew(self) -> bool:
        """Read the manifest again; return whether it has changed."""
        place = self._new_file()
        try:
            bound = min(MANIFEST_MAX, self._size_max)
            self._session.fetch(urljoin(self.address, MANIFEST), place, size_max=bound)
            text = place.read_bytes()
        finally:
            place.unlink(missing_ok=True)
        if text == self._text:
            return False
        self.manifest = decode_manifest(text, self.address)
        self._text = text
        return True

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
                    self._progress(f"{done} of {len(files)} files, {megabytes(here)} of {size} MB")
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
            f"{self.address}{one.name} is not the file that {MANIFEST} lists",
            "try again later, or tell whoever publishes it",
        )

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
