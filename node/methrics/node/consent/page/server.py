"""Serves the page to one browser on this machine, until the person has decided or left.

The server listens on 127.0.0.1 only. The address contains a token that can be used once; in return,
the browser gets a cookie for a random path. So no other web page (DNS rebinding, forged forms), and
no program on this machine that has not seen the address, can read the page or answer. Answers are
accepted only by POST, from a form that this server sent, if the browser names this server as the
origin.
"""

from __future__ import annotations

import hmac
import secrets
import socketserver
import threading
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from methrics.node.clock import Clock
from methrics.node.consent.answer import EVERY
from methrics.node.consent.asking import Asking
from methrics.node.consent.page import form, render
from methrics.node.consent.way_back import way_back
from methrics.node.consent.wording import Sheet
from methrics.schema.errors import LocalError

IDLE = 900.0
"""Seconds without a request after which the server ends."""
REQUEST_TIMEOUT = 10
"""Most seconds for one request, because browsers open connections that they never use."""

COOKIE = "methrics"
HTML = "text/html; charset=utf-8"


class ConsentPage(socketserver.ThreadingTCPServer):
    """A server for the page at `url` with the questions of `sheets`. Use it as a context manager,
    and call `serve`. `overridden`: the rule that forbids everything, in words."""

    daemon_threads = True
    allow_reuse_address = False
    timeout = 0.5

    def __init__(
        self,
        asking: Asking,
        sheets: list[Sheet],
        *,
        overridden: str = "",
        clock: Clock | None = None,
        idle: float = IDLE,
    ) -> None:
        self.asking = asking
        self.sheets = sheets
        self.overridden = overridden
        self.saved = False
        self.seen = False
        self._clock = clock or Clock()
        self._idle = idle
        self._deadline = self._clock.monotonic() + idle
        self._guard = threading.Lock()
        self._token = secrets.token_urlsafe(24)
        self._unused = True
        self.session = secrets.token_urlsafe(24)
        self.form_token = secrets.token_urlsafe(24)
        self.path = f"/{secrets.token_urlsafe(12)}/"
        super().__init__(("127.0.0.1", 0), _Handler)
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.url = f"http://{self.host}/start?token={self._token}"

    def serve(self) -> bool:
        """Serves until answers are saved (True), or no request came for `idle` seconds (False)."""
        while not self.saved and self._clock.monotonic() < self._deadline:
            self.handle_request()
        return self.saved

    def touch(self) -> None:
        """Starts the idle time again; called for each request."""
        self._deadline = self._clock.monotonic() + self._idle

    def redeem(self, token: str) -> bool:
        """Returns whether `token` is that of the address and was not used before. It counts as used
        afterwards."""
        with self._guard:
            good = self._unused and hmac.compare_digest(token.encode(), self._token.encode())
            self._unused = self._unused and not good
        return good

    def save(self, sent: form.Form) -> form.Given:
        """Writes the answers of the form and returns them. If the form is refused, or answers were
        saved before, writes none and returns the errors."""
        with self._guard:
            if self.saved:
                return form.Given([], ["Your answers were saved already."])
            given = form.answers(self.asking, self.sheets, sent)
            if given.errors:
                return given
            try:
                self.asking.write(given.edits)
            except LocalError as error:
                return form.Given([], [str(error)])
            return given

    def handle_error(self, request: object, client_address: object) -> None:
        """Prints nothing, because a browser may close a connection at any time."""


class _Handler(BaseHTTPRequestHandler):
    server: ConsentPage  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = REQUEST_TIMEOUT
    server_version = "methrics"
    sys_version = ""

    def do_GET(self) -> None:
        """Answers a request for the address with the token, or for the page."""
        if not self._from_here():
            return
        parts = urlsplit(self.path)
        if parts.path == "/start":
            self._start(parse_qs(parts.query).get("token", [""])[0])
        elif parts.path == self.server.path and self._known():
            self.server.seen = True
            self._page(HTTPStatus.OK)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such page.")

    def do_POST(self) -> None:
        """Answers a form that the browser sends."""
        if not self._from_here():
            return
        if self.path != f"{self.server.path}save" or not self._known():
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such page.")
            return
        origin = f"http://{self.server.host}"
        if self.headers.get("Origin") != origin or self._elsewhere():
            self._refuse(HTTPStatus.FORBIDDEN, "This form was not sent from its own page.")
            return
        sent = self._form()
        if sent is None:
            self._refuse(HTTPStatus.BAD_REQUEST, "This is not the form of the page.")
            return
        token = (sent.get("token") or [""])[0]
        if not hmac.compare_digest(token.encode(), self.server.form_token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "This form was not sent from its own page.")
            return
        given = self.server.save(sent)
        if given.errors:
            self._page(HTTPStatus.UNPROCESSABLE_ENTITY, given.errors, sent)
            return
        said = [
            (edit.type, edit.said, None if edit.fields is None else sorted(edit.fields))
            for edit in given.edits
            if edit.type != EVERY
        ]
        lines = render.saved_lines(said, way_back=way_back(self.server.asking.paths))
        self._send(HTTPStatus.OK, render.message_page("Saved", lines, good=True))
        self.server.saved = True

    def _from_here(self) -> bool:
        """Returns whether the request names this server's own address. Otherwise refuses the
        request, which may be an attack (DNS rebinding)."""
        self.server.touch()
        if self.headers.get_all("Host") == [self.server.host]:
            return True
        self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "This page has another address.")
        return False

    def _elsewhere(self) -> bool:
        return self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin"

    def _known(self) -> bool:
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            return False
        if found is None:
            return False
        return hmac.compare_digest(found.value.encode(), self.server.session.encode())

    def _start(self, token: str) -> None:
        if not self.server.redeem(token):
            self._refuse(
                HTTPStatus.FORBIDDEN,
                "This address was used already, or is not complete. "
                "If you did not open it yourself, stop here and run the command again.",
            )
            return
        cookie = f"{COOKIE}={self.server.session}; Path={self.server.path}; HttpOnly; SameSite=Lax"
        self._headers(HTTPStatus.SEE_OTHER, 0, {"Location": self.server.path, "Set-Cookie": cookie})

    def _form(self) -> form.Form | None:
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get_content_type()
        if not (length.isascii() and length.isdigit() and len(length) < 9):
            return None
        if int(length) > form.FORM_MAX:
            return None
        if kind != "application/x-www-form-urlencoded" or "Transfer-Encoding" in self.headers:
            return None
        try:
            return form.parse(self.rfile.read(int(length)))
        except ValueError:
            return None

    def _page(
        self,
        status: HTTPStatus,
        errors: list[str] | None = None,
        given: form.Form | None = None,
    ) -> None:
        server = self.server
        self._send(
            status,
            render.questions_page(
                server.sheets,
                server.form_token,
                overridden=server.overridden,
                errors=errors or (),
                given=given,
            ),
        )

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(status, render.message_page("Not here", [why], good=False))

    def _send(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self._headers(status, len(body), {"Content-Type": HTML})
        self.wfile.write(body)
        self.wfile.flush()

    def _headers(self, status: HTTPStatus, length: int, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(length),
            "Content-Security-Policy": render.policy(),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            **more,
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing, because the address holds a secret."""
