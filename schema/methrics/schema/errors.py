"""The exceptions of this project, in two branches: errors of this machine and errors of a peer.

`LocalError` means that something on this machine, or a request of its user, is wrong.
`RemoteError` means that a peer sent something wrong or did not answer.
Each error has a stable `code` (documented in docs/reference/errors.md) and may have a `hint` about
what to do next. `str(error)` is one line.
"""

from __future__ import annotations


class MethricsError(Exception):
    """Base class of all errors. `code` is stable; `message` and `hint` are for people."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class LocalError(MethricsError):
    """A fault of this machine or its user: a wrong file, setting, catalog, value or command."""


class ConfigError(LocalError):
    """Raised for a setting, path or command line that cannot be used."""


class CatalogError(LocalError):
    """Raised for a catalog source with errors, or a catalog file that cannot be decoded."""


class StoreError(LocalError):
    """Raised if a local file or database cannot be read or written."""


class RemoteError(MethricsError):
    """A fault of a peer: it sent bytes that break the wire rules, or it cannot be reached."""


class RefusedError(RemoteError):
    """Raised for bytes that break the wire rules; `code` is a `Reason` value."""


class UnreachableError(RemoteError):
    """Raised if no peer accepted the message; a later attempt may succeed."""
