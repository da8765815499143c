"""The certificate of a relay's HTTP doors, read again while it runs."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from methrics.node.cli.relay import _http, renewed
from methrics.node.http.tls import ServerTls
from methrics.node.relay.given import Reloaded
from methrics.schema.errors import ConfigError

NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay.example")])
BEFORE = Reloaded(changed=("the record in app.record",))


def write_certificate(folder: Path) -> bytes:
    """Write a new self-signed certificate and its key; return the certificate (DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=2))
    made = builder.sign(key, SHA256())
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    return made.public_bytes(Encoding.DER)


def shown(tls: ServerTls) -> bytes | None:
    """Return the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(down, up)
    server = tls.context.wrap_bio(up, down, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.getpeercert(binary_form=True)


@pytest.fixture
def tls(tmp_path: Path) -> ServerTls:
    write_certificate(tmp_path)
    return ServerTls(tmp_path / "cert.pem", tmp_path / "key.pem")


def test_new_connections_are_shown_the_new_certificate(tls: ServerTls, tmp_path: Path) -> None:
    new = write_certificate(tmp_path)
    assert shown(tls) != new
    done = renewed(BEFORE, tls)
    assert done.changed == (*BEFORE.changed, f"the certificate in {tmp_path / 'cert.pem'}")
    assert not done.refused
    assert shown(tls) == new


def test_a_bad_certificate_leaves_the_old_one_in_use(tls: ServerTls, tmp_path: Path) -> None:
    old = shown(tls)
    key = (tmp_path / "key.pem").read_bytes()
    write_certificate(tmp_path)
    (tmp_path / "key.pem").write_bytes(key)
    done = renewed(BEFORE, tls)
    assert done.changed == BEFORE.changed
    assert [error.code for _, error in done.refused] == ["tls-files"]
    assert shown(tls) == old


def test_a_pipe_is_not_waited_for(tls: ServerTls, tmp_path: Path) -> None:
    (tmp_path / "key.pem").unlink()
    os.mkfifo(tmp_path / "key.pem")
    assert [error.code for _, error in renewed(BEFORE, tls).refused] == ["no-regular-file"]


def test_the_proxy_is_named_by_its_address() -> None:
    found = _http("127.0.0.1:8080", None, None, "0:0:0:0:0:0:0:1")
    assert found.behind == "::1"
    with pytest.raises(ConfigError, match="no IP address"):
        _http("127.0.0.1:8080", None, None, "localhost")
