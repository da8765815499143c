"""Who may ask the live endpoint: programs of this machine, and no web page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.aggregate.serve.callers import LOCAL_NAMES, host_of, parse_listen, refusal
from methrics.schema.errors import ConfigError

HOST = (b"host", b"127.0.0.1:8417")
JSON = (b"content-type", b"application/json")


@pytest.mark.parametrize("host", [b"localhost", b"127.0.0.1:1", b"[::1]:8417", b"LocalHost:80"])
def test_programs_of_this_machine_may_ask(host: bytes) -> None:
    assert refusal([(b"Host", host)], LOCAL_NAMES, posted=False) is None
    assert refusal([(b"host", host), JSON], LOCAL_NAMES, posted=True) is None


@pytest.mark.parametrize(
    ("headers", "posted"),
    [
        pytest.param([(b"host", b"evil.example:8417")], False, id="dns-rebinding"),
        pytest.param([(b"host", b"127.0.0.1.evil.example")], False, id="dns-rebinding-by-look"),
        pytest.param([(b"host", b"evil.example"), HOST], False, id="two-hosts"),
        pytest.param([], False, id="no-host"),
        pytest.param([HOST, (b"origin", b"https://evil.example"), JSON], True, id="other-origin"),
        pytest.param([HOST, (b"origin", b"null")], False, id="no-origin"),
        pytest.param([HOST, (b"Sec-Fetch-Site", b"cross-site")], False, id="image-of-another-site"),
        pytest.param([HOST, (b"content-type", b"text/plain"), (b"x", b"y")], True, id="form-text"),
        pytest.param(
            [HOST, (b"content-type", b"application/x-www-form-urlencoded")], True, id="form"
        ),
        pytest.param([HOST], True, id="no-type"),
        pytest.param([HOST, JSON, (b"content-type", b"text/plain")], True, id="two-types"),
    ],
)
def test_attack_by_a_web_page_is_refused(headers: list[tuple[bytes, bytes]], posted: bool) -> None:
    assert refusal(headers, LOCAL_NAMES, posted=posted)


def test_an_open_endpoint_is_asked_by_any_name_but_by_no_web_page() -> None:
    assert refusal([(b"host", b"metrics.example.org"), JSON], (), posted=True) is None
    assert refusal([(b"host", b"metrics.example.org"), (b"origin", b"x")], (), posted=False)


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=5))
def test_any_headers_get_an_answer(headers: list[tuple[bytes, bytes]]) -> None:
    why = refusal(headers, LOCAL_NAMES, posted=True)
    assert why is not None or (HOST[0], JSON[0]) <= tuple(sorted(n.lower() for n, _ in headers))


def test_hosts_lose_port_and_brackets() -> None:
    assert [host_of(one) for one in ("A:1", "[::1]:2", "::1", "a")] == ["a", "::1", "::1", "a"]


def test_addresses_to_serve_at() -> None:
    assert parse_listen("127.0.0.1:8417", open_to_others=False) == ("127.0.0.1", 8417)
    assert parse_listen("localhost:0", open_to_others=False) == ("127.0.0.1", 0)
    assert parse_listen("[::1]:80", open_to_others=False) == ("::1", 80)
    assert parse_listen("0.0.0.0:80", open_to_others=True) == ("0.0.0.0", 80)
    for wrong in ("8417", "127.0.0.1", "a.example:1", "127.0.0.1:99999", ":1", "127.0.0.1:²"):
        with pytest.raises(ConfigError, match="is no address"):
            parse_listen(wrong, open_to_others=True)
    for wide in ("0.0.0.0:80", "192.0.2.1:80", "[::]:80"):
        with pytest.raises(ConfigError, match="--http-open"):
            parse_listen(wide, open_to_others=False)
