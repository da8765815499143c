"""Entry peers: the user's own list, from the environment or a file, or a clear word about it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from methrics.node.paths import user_paths
from methrics.node.publish.entry import (
    ADDRESSES_MAX,
    Entry,
    check_addresses,
    check_relays,
    entry_peers,
)
from methrics.schema.errors import ConfigError

ONE = "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWOne"
TWO = "/dns4/relay.example.org/tcp/4001/p2p/12D3KooWTwo"


def write(home: Path, document: object) -> None:
    home.mkdir(parents=True, exist_ok=True)
    text = document if isinstance(document, str) else json.dumps(document)
    (home / "network.json").write_text(text)


def test_without_settings_there_is_no_entry_peer(tmp_path: Path) -> None:
    assert entry_peers(user_paths(tmp_path), {}) == Entry()


@pytest.mark.shows("DEB-8")
def test_the_environment_names_several(tmp_path: Path) -> None:
    env = {"METHRICS_RELAYS": f"{ONE}, {TWO} {ONE}", "METHRICS_PEERS": TWO}
    assert entry_peers(user_paths(tmp_path), env) == Entry((ONE, TWO), (TWO,))


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"relays": [ONE], "peers": [ONE]})
    assert entry_peers(user_paths(tmp_path), {}) == Entry((ONE,), (ONE,))
    assert entry_peers(user_paths(tmp_path), {"METHRICS_RELAYS": TWO}) == Entry((TWO,), (ONE,))


@pytest.mark.shows("DEB-8")
def test_the_users_relays_come_before_the_apps(tmp_path: Path) -> None:
    assert entry_peers(user_paths(tmp_path), {}, default_relays=[ONE]) == Entry((ONE,), by_app=True)
    env = {"METHRICS_RELAYS": TWO}
    assert entry_peers(user_paths(tmp_path), env, default_relays=[ONE]) == Entry((TWO,))
    with pytest.raises(ConfigError, match="not the address of a peer"):
        entry_peers(user_paths(tmp_path), {}, default_relays=["relay.example.org"])


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    write(tmp_path, "\ufeff" + json.dumps({"relays": [ONE]}))
    assert entry_peers(user_paths(tmp_path), {}) == Entry((ONE,))


def test_a_pipe_in_place_of_the_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "network.json")
    with pytest.raises(ConfigError, match="not a regular file"):
        entry_peers(user_paths(tmp_path), {})


@pytest.mark.parametrize("document", ["{", "[]", {"relays": ONE}, {"relays": [1]}, "[" * 60_000])
def test_a_damaged_file_is_named(tmp_path: Path, document: object) -> None:
    write(tmp_path, document)
    with pytest.raises(ConfigError) as caught:
        entry_peers(user_paths(tmp_path), {})
    assert caught.value.code == "bad-network-file"
    assert "network.json" in str(caught.value)


@pytest.mark.parametrize(
    "address", ["", "somebody", "/ip4/192.0.2.7/tcp/4001", "/p2p/" + "x" * 300]
)
def test_what_can_be_no_address_is_said(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_addresses([address])
    assert caught.value.code == "bad-address"
    assert len(str(caught.value)) < 250


def test_more_than_anybody_needs_is_refused() -> None:
    with pytest.raises(ConfigError):
        check_addresses([f"{ONE}{number}" for number in range(ADDRESSES_MAX + 1)])


URL = "https://relay.example/"


def test_relays_may_have_urls_and_peers_may_not(tmp_path: Path) -> None:
    env = {"METHRICS_RELAYS": f"{ONE}, HTTPS://Relay.Example:443 {URL} http://127.0.0.1:8080"}
    found = entry_peers(user_paths(tmp_path), env).relays
    assert found == (ONE, URL, "http://127.0.0.1:8080/")
    assert entry_peers(user_paths(tmp_path), {}, default_relays=[URL]).relays == (URL,)
    with pytest.raises(ConfigError, match="not the address of a peer"):
        entry_peers(user_paths(tmp_path), {"METHRICS_PEERS": URL})


@pytest.mark.parametrize("address", ["http://relay.example/", "https://", "https://relay/path"])
def test_attack_by_a_url_that_is_not_safe(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_relays([address])
    assert caught.value.code == "bad-address"
