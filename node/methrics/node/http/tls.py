"""TLS contexts without sessions that could be recognised.

A resumed session tells a server that the same machine comes again, so none is offered and none is
used, on either side.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from methrics.schema.errors import ConfigError

PROTOCOL = "http/1.1"
"""The only protocol that is offered (ALPN)."""


class ServerTls:
    """The TLS of a server: a certificate chain and its private key, in two PEM `files`.

    Only TLS 1.3 is spoken: older versions resume sessions in ways that cannot be switched off.
    Raises ConfigError `tls-files` if the files cannot be used.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self.files = cert, key
        self.context = self._loaded()

    def reload(self) -> None:
        """Read both files again, for new connections. Raises ConfigError as above; the old ones
        then stay in use."""
        self._loaded()
        self.context.load_cert_chain(*self.files, password=_no_password)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        context.set_alpn_protocols([PROTOCOL])
        cert, key = self.files
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                "tls-files",
                f"cannot use {cert} and {key}: {reason}",
                "give a certificate chain and its private key, both PEM, without a password",
            ) from None
        return context


def _no_password() -> str:
    raise ValueError("the private key has a password")


def client_context() -> ssl.SSLContext:
    """Return a new context with the system's certificate authorities (or `SSL_CERT_FILE`). No
    session of another context is resumed with it."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    context.set_alpn_protocols([PROTOCOL])
    return context
