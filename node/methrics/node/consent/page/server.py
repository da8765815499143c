"""Serves the page to one browser on this machine, until the person has decided or left.

The server listens on 127.0.0.1 only. A browser gets in by a code that can be used once: in the
address that `Handover` writes into a file, or typed into the server's first page. In return it gets
a cookie for a random path. So no other web page (DNS rebinding, forged forms), and no other user
of this machine, can read the page or answer. Answers are accepted only by POST, from a form that
this server sent, if the browser names this server as the origin.
"""

from __future__ import annotations

import hmac
import secrets
import socketserver
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from methrics.node.clock import Clock
from methrics.node.consent.answer import EVERY
from methrics.node.consent.asking import Asking
from methrics.node.consent.page import form, render
from methrics.node.consent.questions import Question
from methrics.node.consent.way_back import way_back
from methrics.node.consent.wording import Sheet
from methrics.schema.errors import LocalError, StoreError

IDLE = 900.0
"""Seconds without a request after which the server ends."""
REQUEST_TIMEOUT = 10
"""Most seconds for one request, because browsers open connections that they never use."""

COOKIE = "methrics"
CODE_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
CODE_LENGTH = 14
"""Letters of the code, which are hard to confuse, and their number: more than 69 random bits."""
USED = (
    "This code or address was used already, or is not complete. "
    "If you did not open it yourself, stop here and run the command again."
)
HTML = "text/html; charset=utf-8"


class ConsentPage(socketserver.ThreadingTCPServer):
    """A server for the page with the questions `asked`. Use it as a context manager, and call
    `serve`. `overridden`: the rule that forbids everything, in words.

    `url` contains the secret: it must not be on a command line. `address` is the same without the
    secret: there the browser asks for `code`. Either can be used once. Then `entered` is called.
    """

    daemon_threads = True
    allow_reuse_address = False
    timeout = 0.5

    def __init__(
        self,
        asking: Asking,
        asked: Sequence[Question],
        *,
        overridden: str = "",
        clock: Clock | None = None,
        idle: float = IDLE,
    ) -> None:
        self.asking = asking
        self._asked = tuple(asked)
        self.overridden = overridden
        self.saved = False
        self._clock = clock or Clock()
        self._idle = idle
        self._deadline = self._clock.monotonic() + idle
        self._guard = threading.Lock()
        self.code = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
        self.entered: Callable[[], object] = lambda: None
        self._unused = True
        self.session = secrets.token_urlsafe(24)
        self.form_token = secrets.token_urlsafe(24)
        self.path = f"/{secrets.token_urlsafe(12)}/"
        super().__init__(("127.0.0.1", 0), _Handler)
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.address = f"http://{self.host}/"
        self.url = f"{self.address}start?code={self.code}"

    def serve(self) -> bool:
        """Serves until answers are saved (True), or no request came for `idle` seconds (False)."""
        while not self.saved and self._clock.monotonic() < self._deadline:
            self.handle_request()
        return self.saved

    def touch(self) -> None:
        """Starts the idle time again; called for each request of the browser that got in."""
        self._deadline = self._clock.monotonic() + self._idle

    @property
    def used(self) -> bool:
        """Whether a browser got in by the code."""
        return not self._unused

    def redeem(self, code: str) -> bool:
        """Returns whether `code` is the right one and was not used before. It counts as used
        afterwards. A person may type it with capitals, hyphens and spaces."""
        typed = "".join(code.lower().replace("-", " ").split())
        with self._guard:
            good = self._unused and hmac.compare_digest(typed.encode(), self.code.encode())
            self._unused = self._unused and not good
        if good:
            self.touch()
            self.entered()
        return good

    def questions(self) -> list[Question]:
        """Returns the questions of the page, in its order, with the answers in the ledger now.
        Raises StoreError if the ledger cannot be read."""
        now = {_key(one): one for one in self.asking.questions(everything=True)}
        return [now.get(_key(one), one) for one in self._asked]

    def sheets(self) -> list[Sheet]:
        """Returns the texts about the questions as they are now. Raises as `questions` does."""
        return [self.asking.sheet(question) for question in self.questions()]

    def save(self, sent: form.Form) -> form.Given:
        """Writes the answers of the form and returns them.

        Writes none and returns the reasons if the form is refused, or answers were saved before, or
        a question was answered elsewhere since the form was made. A no to everything is always
        written.
        """
        with self._guard:
            if self.saved:
                return form.Given([], ["Your answers were saved already."])
            try:
                return self._save(sent)
            except LocalError as error:
                return form.Given([], [str(error)])

    def _save(self, sent: form.Form) -> form.Given:
        sheets = self.sheets()
        seen = [one.question for one in sheets]
        refused = sent.get("all") == ["no"]
        changed = form.elsewhere(sheets, sent)
        if changed and not refused:
            return form.Given([], [], elsewhere=tuple(sheets[number] for number in changed))
        given = form.answers(self.asking, sheets, sent)
        if given.errors:
            return given
        try:
            self.asking.write(given.edits, seen=() if refused else seen)
        except StoreError as error:
            if error.code != "answered-elsewhere":
                raise
            return self._save(sent)  # the form is older than that answer, so this writes nothing
        return given

    def handle_error(self, request: object, client_address: object) -> None:
        """Prints nothing, because a browser may close a connection at any time."""


def _key(question: Question) -> tuple[str, str]:
    return question.namespace, question.event_type.name


class _Handler(BaseHTTPRequestHandler):
    server: ConsentPage  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = REQUEST_TIMEOUT
    server_version = "methrics"
    sys_version = ""

    def do_GET(self) -> None:
        """Answers a request for the address with the code, for the form that asks for the code, or
        for the page."""
        if not self._from_here():
            return
        parts = urlsplit(self.path)
        if parts.path == "/start":
            self._start(parse_qs(parts.query).get("code", [""])[0])
        elif parts.path == "/":
            self._ask_code()
        elif parts.path == self.server.path and self._known():
            self._page(HTTPStatus.OK)
        elif parts.path.startswith(f"{self.server.path}bytes/") and self._known():
            self._bytes(parts.path.rpartition("/")[2])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such page.")

    def do_POST(self) -> None:
        """Answers a form that the browser sends."""
        if not self._from_here():
            return
        code = self.path == "/start"
        if not code and (self.path != f"{self.server.path}save" or not self._known()):
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
        if code:
            self._start((sent.get("code") or [""])[0])
            return
        self._save(sent)

    def _save(self, sent: form.Form) -> None:
        """Saves the answers of a form, if the form has the token that the page gave it."""
        token = (sent.get("token") or [""])[0]
        if not hmac.compare_digest(token.encode(), self.server.form_token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "This form was not sent from its own page.")
            return
        given = self.server.save(sent)
        if given.errors:
            self._page(
                HTTPStatus.UNPROCESSABLE_ENTITY, sent, errors=given.errors, wrong=given.wrong
            )
            return
        if given.elsewhere:
            self._page(HTTPStatus.CONFLICT, sent, elsewhere=given.elsewhere)
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
        known = found is not None and hmac.compare_digest(
            found.value.encode(), self.server.session.encode()
        )
        if known:
            self.server.touch()
        return known

    def _ask_code(self) -> None:
        if self.server.used:
            self._refuse(HTTPStatus.FORBIDDEN, USED)
        else:
            self._send(HTTPStatus.OK, render.code_page())

    def _start(self, code: str) -> None:
        """Lets the browser in. The reply is a page that leads on and no redirect: a browser that
        comes from a file does not send a strict cookie along a redirect."""
        if not self.server.redeem(code):
            if code and not self.server.used:
                self._send(HTTPStatus.FORBIDDEN, render.code_page(wrong=True))
            else:
                self._refuse(HTTPStatus.FORBIDDEN, USED)
            return
        cookie = (
            f"{COOKIE}={self.server.session}; Path={self.server.path}; HttpOnly; SameSite=Strict"
        )
        page = render.forward_page(self.server.path)
        self._send(HTTPStatus.OK, page, {"Set-Cookie": cookie})

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
        given: form.Form | None = None,
        *,
        errors: Sequence[str] = (),
        wrong: Sequence[int] = (),
        elsewhere: Sequence[Sheet] = (),
    ) -> None:
        server = self.server
        try:
            sheets = server.sheets()
            asked = [one.question for one in sheets]
            first = server.asking.first_screen(asked)
        except LocalError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            return
        names = {_key(one.question) for one in elsewhere}
        numbers = [number for number, one in enumerate(asked) if _key(one) in names]
        page = render.questions_page(
            first,
            sheets,
            server.form_token,
            overridden=server.overridden,
            errors=errors,
            unfolded=wrong,
            elsewhere=render.elsewhere_lines(sheets[number] for number in numbers),
            given=form.without(given or {}, numbers),
        )
        self._send(status, page)

    def _bytes(self, name: str) -> None:
        """Answers with the bytes of one example. Its work stamp is made only here, when the person
        wants to see it."""
        try:
            sheets = self.server.sheets()
        except LocalError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            return
        numbers = {str(number): one for number, one in enumerate(sheets)}
        if name not in numbers:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such page.")
            return
        self._send(HTTPStatus.OK, render.bytes_page(numbers[name]))

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(status, render.message_page("Not here", [why], good=False))

    def _send(self, status: HTTPStatus, text: str, more: dict[str, str] | None = None) -> None:
        body = text.encode()
        self._headers(status, len(body), {"Content-Type": HTML, **(more or {})})
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
        """Logs nothing, because the address can contain the code."""
