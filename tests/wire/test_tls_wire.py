"""A publisher and a real relay over `https://`: who is trusted, and what TLS shows of a person."""

from __future__ import annotations

import select
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from certificates import Authority
from embedded import CATALOG, NAMESPACE, agree, home, program, receipts, run
from real_network import RealNetwork, wait_until

from methrics.node.http.client import Ask, HttpClient
from methrics.node.http.tls import client_context
from methrics.node.http.url import Address
from methrics.node.ohttp.inner import BOX_SIZE
from methrics.node.outbox.periods import DAY
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.paths import Paths

pytestmark = [pytest.mark.wire, pytest.mark.slow]

METHRICS = "from methrics.aggregate.cli.main import main; print(main())"
"""Runs the command `methrics` and prints its exit code."""

HANDSHAKE, CLIENT_HELLO = 22, 1
SESSION_TICKET, PRE_SHARED_KEY, EARLY_DATA = 35, 41, 42
"""TLS extensions by which a client continues an earlier session (RFC 5077, RFC 8446)."""


class Wiretap:
    """Somebody on the wire between a publisher and a relay, who keeps what the publisher sends."""

    def __init__(self, target: str) -> None:
        found = urlsplit(target)
        assert found.hostname is not None
        self._to = found.hostname, found.port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}/"
        self.sent: list[bytearray] = []
        """What the publisher sent, for each connection."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                app, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=[app], daemon=True).start()

    def _carry(self, app: socket.socket) -> None:
        sent = bytearray()
        self.sent.append(sent)
        with app, socket.create_connection(self._to) as relay:
            other = {app: relay, relay: app}
            while True:
                for one in select.select([app, relay], [], [])[0]:
                    try:
                        data = one.recv(65_536)
                        other[one].sendall(data)
                    except OSError:
                        return
                    if not data:
                        return
                    if one is app:
                        sent += data

    def close(self) -> None:
        self._socket.close()


def extensions(hello: bytes) -> set[int]:
    """Return the numbers of the extensions of the ClientHello at the start of a connection."""
    assert hello[0] == HANDSHAKE
    assert hello[5] == CLIENT_HELLO
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2])
    at += 1 + hello[at]
    end = at + 2 + int.from_bytes(hello[at : at + 2])
    found, at = set[int](), at + 2
    while at < end:
        found.add(int.from_bytes(hello[at : at + 2]))
        at += 4 + int.from_bytes(hello[at + 2 : at + 4])
    return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the relay's certificate."""
    return tmp_path_factory.mktemp("certificate")


@pytest.fixture(scope="module")
def secure_network(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, files: Path
) -> Iterator[RealNetwork]:
    authority.write(files)
    options = ["--http", "127.0.0.1:0", "--tls-cert", str(files / "cert.pem")]
    options += ["--tls-key", str(files / "key.pem")]
    with RealNetwork(tmp_path_factory.mktemp("network"), options=options) as network:
        yield network


@pytest.fixture
def tap(secure_network: RealNetwork) -> Iterator[Wiretap]:
    found = Wiretap(secure_network.url)
    yield found
    found.close()


@pytest.fixture
def person(tmp_path: Path, nobody: Path) -> Paths:
    """Somebody who agreed, and has recorded what is due now."""
    paths = home(tmp_path)
    agree(paths, ago=3 * DAY)
    record(paths, tmp_path, "search")
    return paths


def record(paths: Paths, folder: Path, name: str) -> None:
    command = program("short_cli.py", name, "word", earlier=2 * DAY)
    run(command, folder, METHRICS_HOME=paths.data)


def publish(paths: Paths, folder: Path, url: str, authority: Authority | None) -> str:
    """Make one visit; return what is printed, with the exit code as its last line."""
    env = {"METHRICS_HOME": paths.data, "METHRICS_RELAYS": url}
    if authority is not None:
        env["SSL_CERT_FILE"] = str(authority.file)
    command = [sys.executable, "-c", METHRICS, "publish", "--once", "--app", NAMESPACE]
    return run(command, folder, **env)


def connect(url: str, authority: Authority, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    """Ask for the descriptors as any HTTP client may, until the answer has ended."""
    found = urlsplit(url)
    context = ssl.create_default_context(cafile=str(authority.file))
    plain = socket.create_connection((found.hostname, found.port), timeout=60)
    secured = context.wrap_socket(plain, server_hostname=found.hostname, session=session)
    head = b"GET /descriptors HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n"
    secured.sendall(head)
    answer = b""
    while data := secured.recv(65_536):
        answer += data
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"set-cookie" not in answer.lower()
    return secured


def test_two_visits_over_tls_share_nothing(
    secure_network: RealNetwork, authority: Authority, tap: Wiretap, person: Paths, tmp_path: Path
) -> None:
    publish(person, tmp_path, tap.url, authority)
    assert receipts(person)[0].state == ACKNOWLEDGED
    sql = f"SELECT name, worked FROM {CATALOG.label}.command WHERE name = 'search'"
    wait_until("store it", lambda: secure_network.rows(sql) == [("search", True)])
    first = len(tap.sent)
    record(person, tmp_path, "search")
    publish(person, tmp_path, tap.url, authority)
    assert len(tap.sent) > first > 0
    for sent in tap.sent:
        found = extensions(bytes(sent))
        assert not found & {SESSION_TICKET, PRE_SHARED_KEY, EARLY_DATA}
    hellos = [bytes(sent[11:43]) for sent in tap.sent]
    assert len(set(hellos)) == len(hellos)


def test_attack_a_relay_that_knows_a_machine_again_by_its_session(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay offers tickets, of TLS 1.2 or 1.3; the client comes back without."""
    authority.write(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        context.maximum_version = version
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            again: list[bool | None] = []

            def serve(
                context: ssl.SSLContext, listening: socket.socket, again: list[bool | None]
            ) -> None:
                for _ in range(2):
                    plain, _ = listening.accept()
                    with context.wrap_socket(plain, server_side=True) as one:
                        one.recv(65_536)
                        one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        again.append(one.session_reused)

            server = threading.Thread(target=serve, args=[context, listening, again], daemon=True)
            server.start()
            client = HttpClient(Address(True, "127.0.0.1", port), context=client_context)
            for _ in range(2):
                trio.run(client.ask, Ask("/descriptors"))
            server.join(60)
            assert again == [False, False]


def test_the_relay_speaks_tls_1_3_only_and_gives_no_ticket(
    secure_network: RealNetwork, authority: Authority
) -> None:
    with connect(secure_network.url, authority) as one:
        assert one.version() == "TLSv1.3"
        assert one.session is not None
        assert not one.session.has_ticket
        with connect(secure_network.url, authority) as other:
            assert not other.session_reused
    found = urlsplit(secure_network.url)
    old = ssl.create_default_context(cafile=str(authority.file))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((found.hostname, found.port), timeout=60) as plain,
        pytest.raises(ssl.SSLError),
    ):
        old.wrap_socket(plain, server_hostname=found.hostname)


def test_a_renewed_certificate_is_used_after_sighup(
    secure_network: RealNetwork,
    authority: Authority,
    files: Path,
    tap: Wiretap,
    person: Paths,
    tmp_path: Path,
) -> None:
    renewed = authority.write(files)
    with connect(secure_network.url, authority) as one:
        assert one.getpeercert(binary_form=True) != renewed
    relay = secure_network.relay_process
    relay.process.send_signal(signal.SIGHUP)
    wait_until("reload", lambda: "the certificate in " in relay.said())
    with connect(secure_network.url, authority) as one:
        assert one.getpeercert(binary_form=True) == renewed
    publish(person, tmp_path, tap.url, authority)
    assert receipts(person)[0].state == ACKNOWLEDGED


@pytest.mark.parametrize(
    ("host", "until", "trusted", "words"),
    [
        ("relay.example", 1, True, "not valid for '127.0.0.1'"),
        ("127.0.0.1", -0.5, True, "certificate has expired"),
        ("127.0.0.1", 1, False, "unable to get local issuer certificate"),
    ],
    ids=["another name", "expired", "of an unknown authority"],
)
def test_attack_a_server_with_a_false_certificate_gets_nothing(
    authority: Authority,
    person: Paths,
    tmp_path: Path,
    host: str,
    until: float,
    trusted: bool,
    words: str,
) -> None:
    authority.write(tmp_path, host, until=timedelta(days=until))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    read: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as one:
                    read.append(one.recv(65_536))
            except OSError:
                plain.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=[listening], daemon=True).start()
        tap = Wiretap(f"https://127.0.0.1:{listening.getsockname()[1]}/")
        said = publish(person, tmp_path, tap.url, authority if trusted else None)
        tap.close()
    assert f"relay {tap.url}: no secure connection: " in said
    assert words in said
    assert said.splitlines()[-1] == "4"
    assert tap.sent
    assert not any(read)
    assert all(len(sent) < BOX_SIZE for sent in tap.sent)
    assert receipts(person)[0].state != ACKNOWLEDGED
