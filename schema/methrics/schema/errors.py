"""The exceptions of this project: one small tree that shows whose fault an error is.

`LocalError` means something on this machine, or what its owner asked for, is wrong.
`RemoteError` means a peer sent something wrong or did not answer.
Each has a stable `code` (documented in docs/reference/errors.md) and, where there is one, a
`hint` that says what to do next. `str(error)` is one clear line.
"""

from __future__ import annotations


class MethricsError(Exception):
    """Base of all. `code` is stable; `message` and `hint` are for people."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class LocalError(MethricsError):
    """This machine or its owner: a wrong file, setting, catalog, value or command."""


class ConfigError(LocalError):
    """A setting, path or command line that cannot be used."""


class CatalogError(LocalError):
    """A catalog source that does not lint, or a catalog file that does not decode."""


class StoreError(LocalError):
    """A local file or database that cannot be read or written."""


class RemoteError(MethricsError):
    """A peer: bytes that break the wire rules, or a peer that cannot be reached."""


class RefusedError(RemoteError):
    """Bytes that a decoder refuses; `code` is a `Reason` value."""


class UnreachableError(RemoteError):
    """No peer took what was to be sent; trying again later may work."""
