"""Hands the page's address to the browser in a file that no other user of the machine can read.

Any user of the machine can read the command line of a process. So the browser is started with the
name of a file, and only the file contains the address with its secret. The file has mode 0600 in a
new folder with mode 0700. It is removed when the address has been used, or the server ends.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from methrics.node.consent.page.render import forward_page

_SNAPS = "/snap/bin"
"""The folder of commands on a system that can run browsers from snaps."""

_PREFIX = "methrics-consent-"


class Handover:
    """A file that leads a browser to `url`. Use it as a context manager: at the end, the file is
    removed. `folder`: the folder in which the file's own folder is made. Raises OSError if that is
    impossible."""

    def __init__(self, url: str, folder: str) -> None:
        self._folder = tempfile.mkdtemp(prefix=_PREFIX, dir=folder)  # with mode 0700
        self.path = os.path.join(self._folder, "open.html")
        self.uri = Path(self.path).absolute().as_uri()
        try:
            opened = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(opened, "w", encoding="utf-8") as file:
                file.write(forward_page(url))
        except BaseException:
            self.remove()
            raise

    def __enter__(self) -> Handover:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Removes the file and its folder. Does nothing if they are gone."""
        shutil.rmtree(self._folder, ignore_errors=True)


def folder_for(
    home: str,
    *,
    env: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
    exists: Callable[[str], bool] = os.path.isdir,
) -> str:
    """Returns the folder for the file. `home`: the person's home folder.

    On a system with snaps this is `home`, because a browser from a snap can read neither hidden
    files of the home folder nor /tmp nor /run. On other Linux systems it is XDG_RUNTIME_DIR, which
    only its owner can enter and which is not on a disk. Without that, it is the folder for
    temporary files.
    """
    if platform.startswith("linux"):
        if exists(_SNAPS) and exists(home):
            return home
        runtime = env.get("XDG_RUNTIME_DIR", "")
        if os.path.isabs(runtime) and exists(runtime):
            return runtime
    return tempfile.gettempdir()
