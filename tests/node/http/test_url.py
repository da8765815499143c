"""Addresses of HTTP servers, and the proxy that the environment names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.http.url import Address, Proxy, proxy_of, read_address
from methrics.schema.errors import ConfigError, UnreachableError

RELAY = read_address("https://relay.example/")


@pytest.mark.parametrize(
    ("text", "url", "authority"),
    [
        ("https://Relay.Example", "https://relay.example/", b"relay.example"),
        ("https://relay.example:443/", "https://relay.example/", b"relay.example"),
        ("https://192.0.2.7:8443/", "https://192.0.2.7:8443/", b"192.0.2.7:8443"),
        ("https://[2001:DB8::1]/", "https://[2001:db8::1]/", b"[2001:db8::1]"),
        ("http://localhost:80/", "http://localhost/", b"localhost"),
        ("http://[::1]:81", "http://[::1]:81/", b"[::1]:81"),
    ],
)
def test_an_address_has_one_written_form(text: str, url: str, authority: bytes) -> None:
    address = read_address(text)
    assert (address.url, address.authority) == (url, authority)
    assert read_address(url) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "relay.example",
        "ftp://relay.example/",
        "https://",
        "https:///",
        "https://relay.example/path",
        "https://relay.example/?a",
        "https://relay.example/#a",
        "https://me@relay.example/",
        "https://relay.example:0/",
        "https://relay.example:70000/",
        "https://relay.example:x/",
        "https://relay_.example/",
        "https://rel\u00e4y.example/",
        "https://relay.example/\r\nX: y",
        " https://relay.example/",
        "http://relay.example/",
        "http://192.0.2.7/",
        "https://[fe80::1%eth0]/",
        "https://" + "a" * 300,
        "https://relay.example/" + "/" * 600,
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_address(text)
    assert caught.value.code == "bad-address"


@given(st.text(max_size=60), st.sampled_from(["", "https://", "http://127.0.0.1", "https://[::1"]))
def test_any_text_is_an_address_or_a_clear_error(text: str, start: str) -> None:
    try:
        address = read_address(start + text)
    except ConfigError as error:
        assert error.code == "bad-address"
    else:
        assert read_address(address.url) == address


@pytest.mark.parametrize(
    ("env", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"https_proxy": "http://proxy:3128", "HTTPS_PROXY": "http://x"}, Proxy("proxy", 3128)),
        ({"ALL_PROXY": "proxy:8080"}, Proxy("proxy", 8080)),
        ({"HTTPS_PROXY": "http://a:b%40@proxy"}, Proxy("proxy", 80, b"Basic YTpiQA==")),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "x, .example"}, None),
        ({"HTTPS_PROXY": "http://proxy", "no_proxy": "relay.example:443"}, None),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "lay.example"}, Proxy("proxy", 80)),
        ({"HTTP_PROXY": "http://proxy"}, None),
    ],
)
def test_the_proxy_is_the_one_that_other_programs_use(
    env: dict[str, str], proxy: Proxy | None
) -> None:
    assert proxy_of(RELAY, env) == proxy


@pytest.mark.parametrize(
    "text",
    ["socks5://proxy:1080", "https://proxy", "http://", "http://[", "http://a b"],
)
def test_a_proxy_that_cannot_be_used_is_not_passed_by(text: str) -> None:
    with pytest.raises(UnreachableError) as caught:
        proxy_of(RELAY, {"HTTPS_PROXY": text})
    assert caught.value.code == "proxy"


def test_this_machine_is_not_asked_through_a_proxy() -> None:
    env = {"ALL_PROXY": "http://proxy"}
    assert proxy_of(Address(False, "127.0.0.1", 80), env) is None
    assert proxy_of(Address(True, "localhost", 443), env) is None
