"""The consent page in a real browser, and against other programs on the machine."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest
from tests.needed import need

from methrics.node.clock import ManualClock
from methrics.node.consent import wording
from methrics.node.consent.asking import Asking
from methrics.node.consent.example import example
from methrics.node.consent.ledger import grant, read_answers, write
from methrics.node.consent.ledger_format import Edit
from methrics.node.consent.page.form import FORM_MAX
from methrics.node.consent.page.handover import Handover
from methrics.node.consent.page.render import questions_page
from methrics.node.consent.page.server import ConsentPage
from methrics.node.paths import Paths, namespace_of, user_paths
from methrics.schema.catalog.rules import read_type
from methrics.schema.example import example_bytes, example_catalog
from methrics.schema.wire.reading import Reader

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

pytestmark = pytest.mark.wire

EXAMPLE = example_catalog()
APP = namespace_of(EXAMPLE.label, EXAMPLE.short_key)
TYPES = list(EXAMPLE.types)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return user_paths(tmp_path / "home", policy=str(tmp_path / "policy.json"))


@pytest.fixture
def page(paths: Paths) -> Iterator[ConsentPage]:
    asking = Asking([EXAMPLE], paths, app_version="1.4", surface="page")
    with ConsentPage(asking, asking.questions(everything=True), overridden="") as server:
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield server
        server.saved = True
        thread.join(60)
        assert not thread.is_alive()


class Visitor:
    """An HTTP client on this machine."""

    def __init__(self, page: ConsentPage) -> None:
        self.page = page
        self.cookie = ""

    def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.page.server_address[1], timeout=60
        )
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host=True)
        for name, value in {
            "Host": self.page.host,
            **({"Cookie": self.cookie} if self.cookie else {}),
            **({"Content-Length": str(len(body))} if body is not None else {}),
            **given,
        }.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        text = reply.read().decode()
        found = {name.lower(): value for name, value in reply.getheaders()}
        connection.close()
        return reply.status, text, found

    def enter(self) -> str:
        """Follows the address; returns the page's path."""
        parts = urlsplit(self.page.url)
        status, text, headers = self.send("GET", f"{parts.path}?{parts.query}")
        assert status == 200
        self.cookie = headers["set-cookie"].partition(";")[0]
        led = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', text)
        assert led is not None
        return led[1]

    def form(self, **answers: str) -> bytes:
        return urlencode({"token": self.page.form_token, **answers}).encode()

    def post(self, body: bytes, **headers: str) -> int:
        sent = {
            "Origin": f"http://{self.page.host}",
            "Content_Type": "application/x-www-form-urlencoded",
            **headers,
        }
        return self.send("POST", f"{self.page.path}save", body, **sent)[0]


@pytest.fixture
def visitor(page: ConsentPage) -> Visitor:
    return Visitor(page)


def nothing_answered(paths: Paths) -> bool:
    return read_answers(paths.ledger) == {}


def test_the_address_works_once(visitor: Visitor, page: ConsentPage, paths: Paths) -> None:
    location = visitor.enter()
    assert visitor.send("GET", location)[0] == 200
    thief = Visitor(page)
    parts = urlsplit(page.url)
    status, text, headers = thief.send("GET", f"{parts.path}?{parts.query}")
    assert status == 403
    assert "used already" in text
    assert "set-cookie" not in headers
    assert thief.send("GET", location)[0] == 404
    assert thief.post(thief.form(all="no")) == 404
    assert nothing_answered(paths)


@pytest.mark.parametrize("code", ["", "x", "é", "A" * 5000])
def test_a_guessed_code_opens_nothing_and_spends_nothing(visitor: Visitor, code: str) -> None:
    guess = urlencode({"code": code})
    assert visitor.send("GET", f"/start?{guess}")[0] == 403
    origin = f"http://{visitor.page.host}"
    kind = "application/x-www-form-urlencoded"
    sent = {"Origin": origin, "Content_Type": kind}
    assert visitor.send("POST", "/start", guess.encode(), **sent)[0] == 403
    assert visitor.enter()


def test_a_code_from_another_page_opens_nothing(visitor: Visitor, page: ConsentPage) -> None:
    body = urlencode({"code": page.code}).encode()
    kind = "application/x-www-form-urlencoded"
    sent = {"Origin": "https://evil.example", "Content_Type": kind}
    assert visitor.send("POST", "/start", body, **sent)[0] == 403
    assert not page.used
    assert visitor.enter()
    assert visitor.send("GET", "/")[0] == 403, "the code is not asked for again"


def test_a_stranger_cannot_keep_the_page_open(paths: Paths) -> None:
    clock = ManualClock()
    with ConsentPage(Asking([EXAMPLE], paths), [], clock=clock, idle=250) as server:
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        stranger = Visitor(server)
        clock.advance(240)
        for path in ("/", "/start?code=guess", "/absent"):
            assert stranger.send("GET", path)[0] in (200, 403, 404)
        clock.advance(20)
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "host", ["localhost", "evil.example", "evil.example:{port}", "127.0.0.1", "0.0.0.0:{port}", ""]
)
def test_dns_rebinding_is_refused(visitor: Visitor, paths: Paths, host: str) -> None:
    location = visitor.enter()
    given = host.format(port=visitor.page.server_address[1])
    status, text, _ = visitor.send("GET", location, Host=given)
    assert status == 421
    assert visitor.page.form_token not in text
    assert visitor.post(visitor.form(all="no"), Host=given) == 421
    assert nothing_answered(paths)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/json"},
        {"Transfer_Encoding": "chunked"},
        {"Content_Length": "-1"},
        {"Content_Length": "1e3"},
        {"Content_Length": str(FORM_MAX + 1)},
        {"Content_Length": "0000000000000000001"},
        {"Cookie": ""},
        {"Cookie": "methrics=guess"},
        {"Cookie": "methrics=\xe9; a"},
    ],
    ids=str,
)
def test_a_forged_form_changes_nothing(
    visitor: Visitor, paths: Paths, headers: dict[str, str]
) -> None:
    visitor.enter()
    assert visitor.post(visitor.form(all="no"), **headers) in (400, 403, 404)
    assert nothing_answered(paths)
    assert visitor.post(visitor.form(all="no")) == 200, "and the real one still works"


@pytest.mark.parametrize(
    "body",
    [b"", b"all=no", b"token=guess&all=no", b"%ff%fe", b"\xff", b"&" * 30_000, b"a=1&" * 30_000],
    ids=range(7),
)
def test_a_form_without_its_token_changes_nothing(
    visitor: Visitor, paths: Paths, body: bytes
) -> None:
    visitor.enter()
    assert visitor.post(body) in (400, 403)
    assert nothing_answered(paths)


def test_a_look_changes_nothing(visitor: Visitor, paths: Paths) -> None:
    location = visitor.enter()
    query = visitor.form(all="no").decode()
    for path in (location, f"{location}?{query}", f"{location}save?{query}", "/", "/favicon.ico"):
        visitor.send("GET", path)
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert visitor.send(method, f"{location}save")[0] == 501
    assert nothing_answered(paths)


def test_nothing_may_be_loaded_stored_or_framed(visitor: Visitor) -> None:
    location = visitor.enter()
    _, text, headers = visitor.send("GET", location)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert "python" not in headers["server"].lower()
    assert not re.search(r"<(script|img|iframe|link|object|embed)\b| on\w+=|style=|src=", text)


def test_silent_connections_do_not_block_others(visitor: Visitor, page: ConsentPage) -> None:
    import socket

    idle = [socket.create_connection(("127.0.0.1", page.server_address[1])) for _ in range(20)]
    try:
        assert visitor.send("GET", visitor.enter())[0] == 200
    finally:
        for one in idle:
            one.close()


def test_it_listens_on_loopback_only_and_asks_no_name_server(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def refuse(*args: object) -> None:
        raise AssertionError("a name was looked up")

    for name in ("getfqdn", "gethostbyaddr", "gethostbyname", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    asking = Asking([EXAMPLE], paths)
    with ConsentPage(asking, []) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_it_ends_by_itself(paths: Paths) -> None:
    class Hasty(ManualClock):
        def monotonic(self) -> float:
            self.advance(100)
            return super().monotonic()

    asking = Asking([EXAMPLE], paths)
    with ConsentPage(asking, [], clock=Hasty(), idle=250) as server:
        server.timeout = 0
        assert server.serve() is False
    assert nothing_answered(paths)


def test_a_form_with_a_mistake_comes_back_as_it_was_sent(
    visitor: Visitor, page: ConsentPage, paths: Paths
) -> None:
    visitor.enter()
    place = TYPES.index("module")  # a count, which needs no field
    yes = {f"answer-{n}": "yes" for n in range(4)}
    body = visitor.form(**yes, **{f"route-{place}": "relay"})
    status, text, _ = visitor.send(
        "POST",
        f"{page.path}save",
        body,
        Origin=f"http://{page.host}",
        Content_Type="application/x-www-form-urlencoded",
    )
    assert status == 422
    assert 'role="alert"' in text
    assert text.count('value="yes" class="yes" checked') == 4
    opened = re.findall(r'<details open>\n<summary>[^<]*<span class="type">(\w+)<', text)
    assert opened == [name for name in TYPES if name != "module"], "the ones to look at"
    assert nothing_answered(paths)


def test_catalog_texts_cannot_become_markup() -> None:
    from dataclasses import replace

    asking = Asking([EXAMPLE], user_paths("/nonexistent"))
    first = asking.first_screen(asking.questions()[:1])
    sheet = asking.sheet(asking.questions()[0])
    evil = '<script>alert(1)</script>"\'&https://x.example/"onclick=1'
    bad = replace(sheet, asks=evil, facts=(("<b>", evil),), report=evil, note=evil)
    text = questions_page(first, [bad], '"><script>', overridden=evil, errors=[evil])
    assert "<script" not in text
    assert "<b>" not in text
    assert not re.search(r"<a [^>]*onclick", text)


SAVED = {"Content_Type": "application/x-www-form-urlencoded"}


def sent_by(visitor: Visitor, text: str, **answers: str) -> tuple[int, str]:
    """The reply to the form of the page `text`, with one field of each type and the route relay."""
    hidden = dict(re.findall(r'name="(seen-\d+)" value="(\w+)"', text))
    parts = {}
    for number, entry in enumerate(EXAMPLE.types.values()):
        parts[f"field-{number}"] = entry.fields[0].name
        parts[f"route-{number}"] = "relay"
    body = visitor.form(**hidden, **parts, **answers)
    origin = f"http://{visitor.page.host}"
    status, reply, _ = visitor.send(
        "POST", f"{visitor.page.path}save", body, Origin=origin, **SAVED
    )
    return status, reply


def test_an_answer_given_elsewhere_is_told_and_not_overwritten(
    visitor: Visitor, paths: Paths
) -> None:
    text = visitor.send("GET", visitor.enter())[1]
    elsewhere = Asking([EXAMPLE], paths, surface="terminal")
    elsewhere.answer(TYPES[0], "no")
    wanted = {f"answer-{number}": "yes" for number in range(len(TYPES))}
    status, told = sent_by(visitor, text, **wanted)
    assert status == 409
    assert "Answered elsewhere in the meantime" in told
    assert "<details open>" not in told
    assert re.search(rf"{TYPES[0]}: no, since [-0-9T:Z]+, through terminal\.", told)
    assert [*read_answers(paths.ledger)[APP]] == [TYPES[0]]
    assert not read_answers(paths.ledger)[APP][TYPES[0]].on
    chosen = re.findall(r'name="answer-(\d+)" value="(\S+)" class="\S+" checked', told)
    assert chosen == [(str(n), "yes" if n else "no") for n in range(len(TYPES))]
    assert sent_by(visitor, told, **wanted)[0] == 200, "the person has seen it now"
    assert all(one.on for one in read_answers(paths.ledger)[APP].values())


def test_a_no_to_all_needs_no_second_press(visitor: Visitor, paths: Paths) -> None:
    text = visitor.send("GET", visitor.enter())[1]
    Asking([EXAMPLE], paths, surface="terminal").answer(TYPES[0], "yes")
    assert sent_by(visitor, text, all="no")[0] == 200
    assert {one.said for one in read_answers(paths.ledger)[APP].values()} == {"no"}


def test_an_answer_given_while_the_form_is_saved_is_not_overwritten(
    visitor: Visitor, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = visitor.send("GET", visitor.enter())[1]
    asking, read = visitor.page.asking, Asking.questions
    terminal = Asking([EXAMPLE], paths, surface="terminal")

    def slow(self: Asking, *args: Any, **more: Any) -> Any:
        found = read(self, *args, **more)
        if self is asking and not paths_answered():
            terminal.answer(TYPES[0], "no")
        return found

    def paths_answered() -> bool:
        return APP in read_answers(paths.ledger)

    monkeypatch.setattr(Asking, "questions", slow)
    status, told = sent_by(visitor, text, all="yes")
    assert status == 409
    assert f"{TYPES[0]}: no" in told
    assert not read_answers(paths.ledger)[APP][TYPES[0]].on


def test_a_reload_shows_the_answers_of_now(visitor: Visitor, paths: Paths) -> None:
    location = visitor.enter()
    Asking([EXAMPLE], paths, surface="terminal").answer(TYPES[0], "no")
    text = visitor.send("GET", location)[1]
    assert re.search(r"You said no to this on [-0-9]+, through terminal\.", text)


def test_a_ledger_that_cannot_be_read_is_told(visitor: Visitor, paths: Paths) -> None:
    location = visitor.enter()
    Path(paths.ledger).parent.mkdir(parents=True)
    Path(paths.ledger).write_text('{"version": 999}')
    status, text, _ = visitor.send("GET", location)
    assert status == 500
    assert "newer methrics" in text
    status, text = sent_by(visitor, "", all="no")
    assert status == 500
    assert "newer methrics" in text


def test_a_work_stamp_is_made_only_for_a_look_at_the_bytes(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def noted(*args: Any, **more: Any) -> Any:
        made.append(more["stamped"])
        return example(*args, **more)

    monkeypatch.setattr(wording, "example", noted)
    location = visitor.enter()
    text = visitor.send("GET", location)[1]
    assert set(made) == {False}
    for number, name in enumerate(TYPES):
        assert f'href="bytes/{number}"' in text
        status, shown, _ = visitor.send("GET", f"{location}bytes/{number}")
        assert status == 200
        assert f"The example report of {name}, byte for byte" in shown
        assert made.count(True) == number + 1
    for path in ("bytes/99", "bytes/-1", "bytes/", "bytes/x"):
        assert visitor.send("GET", f"{location}{path}")[0] == 404
    visitor.cookie = ""
    assert visitor.send("GET", f"{location}bytes/0")[0] == 404


# Tests in a browser

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--window-size=900,1200"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    webdriver = need("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


CHOICE = "Usage reports: your choice"


def find(browser: WebDriver, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def press(browser: WebDriver, selector: str) -> None:
    """Click as a person does: after scrolling to the element."""
    found = find(browser, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    found.click()


def unfold(browser: WebDriver) -> None:
    """Open every fold, as a person does."""
    for fold in all_of(browser, "summary"):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", fold)
        fold.click()


def wait_title(browser: WebDriver, title: str = "Saved") -> None:
    """Wait until the page with this title is there, whole; a click does not wait for the reply to
    the form."""
    from selenium.webdriver.support.ui import WebDriverWait

    whole = f"return document.title === {title!r} && document.readyState === 'complete'"
    WebDriverWait(browser, 60).until(lambda one: one.execute_script(whole))


def enter(browser: WebDriver, url: str) -> None:
    """Open the address and wait until it has led to the page with the questions."""
    browser.get(url)
    wait_title(browser, CHOICE)


def all_of(browser: WebDriver, selector: str) -> list[Any]:
    return browser.find_elements("css selector", selector)


def test_a_person_chooses_types_fields_and_routes(
    browser: WebDriver, page: ConsentPage, paths: Paths, tmp_path: Path
) -> None:
    with Handover(page.url, str(tmp_path)) as file:
        enter(browser, file.uri)
    assert page.path in browser.current_url, "the cookie is sent although a file led here"
    assert "code" not in browser.current_url, "the secret does not stay in the address"
    assert all(
        radio.get_attribute("value") == "not-now"
        for radio in all_of(browser, ":checked[type=radio]")
    )
    unfold(browser)
    text = find(browser, "main").text
    for entry in EXAMPLE.types.values():
        for part in (entry.question, entry.why, entry.owner, entry.review):
            assert part in text
        for field in entry.fields:
            assert field.says in text
    assert "public, for ever" in text
    assert "an operator of both could join them" in text
    assert '"type": "heartbeat"' in text
    heartbeat, signin = TYPES.index("heartbeat"), TYPES.index("signin")
    press(browser, f"[name=answer-{heartbeat}][value=yes]")
    press(browser, f"[name=field-{heartbeat}][value=country]")
    press(browser, f"[name=route-{heartbeat}][value=direct]")
    press(browser, f"[name=answer-{signin}][value=no]")
    press(browser, "button:not([name])")
    wait_title(browser)
    said = find(browser, "[role=status]").text
    assert "signin: off" in said
    answers = read_answers(paths.ledger)[APP]
    assert answers["heartbeat"].fields == {
        field.name for field in EXAMPLE.types["heartbeat"].fields
    } - {"country"}
    assert answers["heartbeat"].routes == {"relay", "direct"}
    assert answers["heartbeat"].through == "page"
    assert answers["heartbeat"].shown == EXAMPLE.types["heartbeat"].to_wire()
    assert answers["signin"].said == "no"
    assert answers["system"].said == "not-now"
    assert [line for line in browser.get_log("browser") if "favicon" not in line["message"]] == []


@pytest.mark.shows("KPI-12")
def test_no_to_everything_is_one_press(browser: WebDriver, page: ConsentPage, paths: Paths) -> None:
    enter(browser, page.url)
    press(browser, "button[name=all][value=no]")
    wait_title(browser)
    assert {answer.said for answer in read_answers(paths.ledger)[APP].values()} == {"no"}
    assert find(browser, "[role=status]").text.splitlines()[: len(TYPES)] == [
        f"{name}: off" for name in TYPES
    ]


def test_yes_to_all_is_one_press(browser: WebDriver, page: ConsentPage, paths: Paths) -> None:
    enter(browser, page.url)
    press(browser, "button[name=all][value=yes]")
    wait_title(browser)
    answers = read_answers(paths.ledger)[APP]
    for name, entry in EXAMPLE.types.items():
        assert answers[name].on
        assert answers[name].fields == {field.name for field in entry.fields}
        assert answers[name].routes == {"relay"}


def test_not_now_is_one_press_and_leaves_what_is_decided(
    browser: WebDriver, page: ConsentPage, paths: Paths
) -> None:
    Asking([EXAMPLE], paths).answer(TYPES[0], "no")
    enter(browser, page.url)
    press(browser, "button[name=all][value=not-now]")
    wait_title(browser)
    said = [read_answers(paths.ledger)[APP][name].said for name in TYPES]
    assert said == ["no", *["not-now"] * (len(TYPES) - 1)]


@pytest.mark.parametrize(
    ("word", "shared"), [("yes", {"os", "country"}), ("keep", {"os"}), ("no", set[str]())]
)
def test_a_field_left_out_before_stays_off(
    browser: WebDriver, page: ConsentPage, paths: Paths, word: str, shared: set[str]
) -> None:
    """The person agreed to `os` alone, when there was no `country` yet."""
    now = EXAMPLE.types["heartbeat"].to_wire()
    fields = [one for one in now["fields"] if one["name"] != "country"]
    before = read_type(Reader(strict=True), "heartbeat", {**now, "fields": fields})
    edit = Edit(APP, "heartbeat", "yes", {"os"}, {"relay"}, before, 1)
    write(paths, [edit], now=1, through="page")
    enter(browser, page.url)
    number = TYPES.index("heartbeat")
    card = find(browser, f".card:has([name=answer-{number}])")
    assert "It now asks for more: country." in card.text
    on = all_of(browser, f"[name=field-{number}]:checked")
    assert {one.get_attribute("value") for one in on} == {"os", "country"}
    press(browser, f"[name=answer-{number}][value={word}]")
    press(browser, "button:not([name])")
    wait_title(browser)
    answer = read_answers(paths.ledger)[APP]["heartbeat"]
    assert answer.fields == shared
    assert answer.on == bool(shared)


@pytest.mark.parametrize(("width", "height", "screens"), [(1280, 800, 1.5), (390, 844, 2.5)])
def test_the_first_layer_of_four_types_is_short(
    browser: WebDriver, paths: Paths, width: int, height: int, screens: float
) -> None:
    asking = Asking([EXAMPLE], paths)
    with ConsentPage(asking, asking.questions(everything=True)[:4]) as server:
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        browser.execute_cdp_cmd(  # type: ignore[attr-defined]
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        try:
            enter(browser, server.url)
            size = "return [document.body.scrollHeight, document.documentElement.scrollWidth]"
            tall, wide = browser.execute_script(size)
            assert tall <= screens * height
            assert wide <= width
            text = find(browser, "main").text
            for entry in [*EXAMPLE.types.values()][:4]:
                assert entry.question in text
                assert f"kept {entry.retention_days} days" in text
            assert EXAMPLE.results
            assert EXAMPLE.results in text
            for button in all_of(browser, ".bar button"):
                assert button.rect["height"] < 60, "each button has one line"
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})  # type: ignore[attr-defined]
            server.saved = True
            thread.join(60)


def test_by_keyboard_alone_in_the_order_of_the_page(
    browser: WebDriver, page: ConsentPage, paths: Paths
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    enter(browser, page.url)
    seen: list[str] = []
    for _ in range(400):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        active = browser.switch_to.active_element
        if active.tag_name == "body":
            break
        kind = active.get_attribute("type")
        name = active.get_attribute("name") or active.tag_name
        seen.append(f"{name}={active.get_attribute('value') or active.text[:20]}")
        if name == "answer-0" and kind == "radio":
            # The arrow keys move within the group: back from "not now" over "no" to "yes".
            active.send_keys(Keys.ARROW_LEFT)
            browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
        if name == "summary":
            active.send_keys(Keys.ENTER)
        if name == "field-0" and len([one for one in seen if one.startswith("field-0")]) == 1:
            active.send_keys(Keys.SPACE)
        box, bar = active.rect, find(browser, ".bar").rect
        if not active.find_elements("xpath", "ancestor::*[@class='bar']") and box["height"] < 200:
            assert box["y"] < bar["y"] + 1, "the bar covers the focused element"
        if kind == "submit" and name == "button":
            active.send_keys(Keys.ENTER)
            break
    order = [TYPES[int(one[7])] for one in seen if one.startswith("answer-")]
    assert order == TYPES, "one stop per group, in order"
    stops = {one for one in seen if one.startswith(("field-", "route-"))}
    wanted = sum(len(entry.fields) for entry in EXAMPLE.types.values()) + 2 * len(TYPES)
    assert len(stops) == wanted
    assert seen[0].startswith("a="), "the first stop is the link that skips the text"
    wait_title(browser)
    first = EXAMPLE.types[TYPES[0]]
    answer = read_answers(paths.ledger)[APP][TYPES[0]]
    assert answer.fields == {field.name for field in first.fields[1:]}


def test_a_screen_reader_finds_names_groups_and_news(browser: WebDriver, page: ConsentPage) -> None:
    enter(browser, page.url)
    folds = [fold.accessible_name for fold in all_of(browser, ".card summary")]
    assert len(set(folds)) == len(TYPES), "each fold has a name of its own"
    unfold(browser)
    for control in all_of(browser, "input:not([type=hidden]), button, summary, pre, a"):
        if control.is_displayed():
            assert control.accessible_name.strip(), control.get_attribute("outerHTML")
    roles = {control.aria_role for control in all_of(browser, "input[type=checkbox]")}
    assert roles == {"switch"}
    assert len(all_of(browser, "fieldset.card > legend")) == len(TYPES)
    assert len(all_of(browser, "[role=radiogroup][aria-label]")) == len(TYPES)
    assert len(all_of(browser, "h1")) == 1
    assert find(browser, "html").get_attribute("lang") == "en"
    assert all_of(browser, "main")
    assert all_of(browser, "header")


CONTRAST = """
const lum = c => { const v = c.map(x => { x /= 255; return x <= .03928 ? x / 12.92 :
  Math.pow((x + .055) / 1.055, 2.4); }); return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
const rgb = s => s.match(/[\\d.]+/g).map(Number);
const bad = [];
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.checkVisibility() || e.matches('.skip')) continue;
  let b = e, back = [0, 0, 0, 0];
  while (b && (back = rgb(getComputedStyle(b).backgroundColor))[3] === 0) b = b.parentElement;
  const fore = rgb(getComputedStyle(e).color);
  const [x, y] = [lum(fore.slice(0, 3)), lum(back.slice(0, 3))].sort((p, q) => q - p);
  const ratio = (x + .05) / (y + .05);
  if (ratio < 4.5) bad.push([e.outerHTML.slice(0, 60), ratio]);
}
return bad;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark_and_fits_a_phone(
    browser: WebDriver, page: ConsentPage, scheme: str
) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})  # type: ignore[attr-defined]
    enter(browser, page.url)
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(247, 245, 240)") == (scheme == "light")
    assert browser.execute_script(CONTRAST) == []
    unfold(browser)
    assert browser.execute_script(CONTRAST) == []
    browser.execute_cdp_cmd(  # type: ignore[attr-defined]
        "Emulation.setDeviceMetricsOverride",
        {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 320
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})  # type: ignore[attr-defined]


def test_axe_finds_no_accessibility_fault(browser: WebDriver, page: ConsentPage) -> None:
    axe = need("axe_core_python")
    script = Path(axe.__path__[0], "axe.min.js").read_text("utf-8")
    for look in (
        lambda: browser.get(page.address),
        lambda: enter(browser, page.url),
        lambda: unfold(browser),
    ):
        look()
        # Run by the driver, because the page's content security policy allows no scripts.
        browser.execute_script(script)
        found = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        assert len(found["passes"]) > 15


def test_answers_given_before_are_shown_and_can_be_changed(
    browser: WebDriver, paths: Paths
) -> None:
    grant(paths, APP, ["heartbeat"], fields=["os"], now=1, catalog=EXAMPLE)
    asking = Asking([EXAMPLE], paths, surface="page")
    with ConsentPage(asking, asking.questions(everything=True)) as server:
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        enter(browser, server.url)
        number = TYPES.index("heartbeat")
        chosen = all_of(browser, f"[name=field-{number}]:checked")
        assert [one.get_attribute("value") for one in chosen] == ["os"]
        assert all_of(browser, f"[name=answer-{number}]:checked")[0].get_attribute("value") == "yes"
        press(browser, f"[name=answer-{number}][value=no]")
        press(browser, "button:not([name])")
        wait_title(browser)
        thread.join(60)
    assert not read_answers(paths.ledger)[APP]["heartbeat"].on


def test_the_command_opens_the_page_and_ends_when_it_is_saved(
    browser: WebDriver, nobody: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "app.cbor"
    catalog.write_bytes(example_bytes())
    command = [str(Path(sys.executable).parent / "methrics"), "consent", "--web", "--no-browser"]
    process = subprocess.Popen(
        [*command, "--catalog", str(catalog)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        browser.get(process.stdout.readline().split()[-1])
        code = process.stdout.readline().partition(": ")[2].strip()
        find(browser, "#code").send_keys(code)
        press(browser, "button")
        wait_title(browser, CHOICE)
        press(browser, "[name=answer-0][value=yes]")
        press(browser, "button:not([name])")
        wait_title(browser)
        assert process.wait(60) == 0
        assert process.stdout.read() == "saved\n"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert read_answers(str(nobody / "consent.json"))[APP][TYPES[0]].on
