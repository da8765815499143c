"""The country: from the person's settings or a GeoIP file, and only if the person shares it."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.needed import need

import methrics.node
from methrics.node.clock import Clock
from methrics.node.consent.ledger import grant
from methrics.node.paths import user_paths
from methrics.node.report import country
from methrics.node.report.country import (
    country_of_address,
    country_of_locale,
    country_of_zone,
    machine_country,
    zone_name,
)
from methrics.node.report.facts import machine_facts
from methrics.schema.catalog.regions import COUNTRIES
from methrics.schema.errors import ConfigError
from methrics.schema.example import example_bytes

ZONE_TAB = """\
# country\tcoordinates\tzone\tcomments
AT\t+4813+01620\tEurope/Vienna
DE\t+5230+01322\tEurope/Berlin\tmost of Germany
NO\t+5955+01045\tEurope/Oslo
CI\t+0519-00402\tAfrica/Abidjan
IS\t+6409-02151\tAtlantic/Reykjavik
IN\t+2232+08822\tAsia/Kolkata
US\t+340308-1181434\tAmerica/Los_Angeles\tPacific
PA\t+0858-07932\tAmerica/Panama
"""
ZONE1970_TAB = """\
AT\t+4813+01620\tEurope/Vienna
DE,DK,NO,SE,SJ\t+5230+01322\tEurope/Berlin\tmost of Germany
CI,BF,GH,IS\t+0519-00402\tAfrica/Abidjan
IN\t+2232+08822\tAsia/Kolkata
US\t+340308-1181434\tAmerica/Los_Angeles\tPacific
PA,CA,KY\t+0858-07932\tAmerica/Panama
"""
LINKS = """\
# version 2026a
L Etc/UTC UTC
L Asia/Kolkata Asia/Calcutta
L America/Los_Angeles US/Pacific
L Africa/Abidjan Iceland
L America/Panama America/Coral_Harbour
"""


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A small time zone database."""
    folder = tmp_path / "zoneinfo"
    folder.mkdir()
    (folder / "zone.tab").write_text(ZONE_TAB)
    (folder / "zone1970.tab").write_text(ZONE1970_TAB)
    (folder / "tzdata.zi").write_text(LINKS)
    return folder


@pytest.fixture(autouse=True)
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package tzdata is not installed, whatever is installed here."""
    monkeypatch.setattr(country, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("Europe/Vienna", "AT"),
        ("Europe/Oslo", "NO"),  # shares a current zone with Berlin, but has a row of its own
        ("Atlantic/Reykjavik", "IS"),
        ("Asia/Calcutta", "IN"),  # an older name
        ("US/Pacific", "US"),
        ("Iceland", ""),  # its current zone, Abidjan, lies in four countries
        ("America/Coral_Harbour", ""),  # in Canada; its current zone is Panama
        ("UTC", ""),
        ("Etc/UTC", ""),
        ("CET-1CEST", ""),
        ("", ""),
        ("Europe/Atlantis", ""),
    ],
)
def test_a_zone_has_one_country_or_none(zone: str, expected: str, tables: Path) -> None:
    assert country_of_zone(zone, (str(tables),)) == expected


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"LANG": "de_AT.UTF-8"}, "AT"),
        ({"LANG": "sr_RS@latin"}, "RS"),
        ({"LANG": "zh_Hant_TW.UTF-8"}, "TW"),
        ({"LANG": "en_US.UTF-8", "LC_MONETARY": "nl_NL.UTF-8"}, "NL"),
        ({"LANG": "fr_FR", "LC_ALL": "fr_CA"}, "CA"),
        ({"LANG": "fr_FR", "LC_ALL": "C"}, "FR"),
        ({"LANG": "es_US.UTF-8"}, "US"),
        ({"LANG": "en_US.UTF-8"}, ""),
        ({"LANG": "es_419"}, ""),
        ({"LANG": "de"}, ""),
        ({"LANG": "C.UTF-8"}, ""),
        ({"LANG": "POSIX"}, ""),
        ({"LANG": "AT"}, ""),
        ({}, ""),
    ],
)
def test_a_locale_has_a_region(env: dict[str, str], expected: str) -> None:
    assert country_of_locale(env) == expected


@pytest.mark.shows("MARS-10")
@pytest.mark.parametrize(
    ("zone", "lang", "expected"),
    [
        ("Europe/Vienna", "de_AT.UTF-8", "AT"),
        ("Europe/Vienna", "en_US.UTF-8", "AT"),
        ("Europe/Berlin", "de_AT.UTF-8", "DE"),  # they disagree: the zone counts
        ("UTC", "de_AT.UTF-8", "AT"),
        ("UTC", "en_US.UTF-8", "ZZ"),  # the default of most images tells nothing
        ("Iceland", "is_IS.UTF-8", "IS"),
        ("Europe/Atlantis", "C.UTF-8", "ZZ"),
        ("", "", "ZZ"),
    ],
)
def test_mars_10_the_zone_counts_more_than_the_locale(
    zone: str, lang: str, expected: str, tables: Path, tmp_path: Path
) -> None:
    link, plain = tmp_path / "localtime", tmp_path / "timezone"
    plain.write_text(f"{zone}\n")

    def found(env: dict[str, str]) -> str:
        return machine_country(
            env, folders=[str(tables)], localtime=str(link), timezone=str(plain), platform="linux"
        )

    assert found({"LANG": lang}) == expected, "from /etc/timezone"
    assert found({"LANG": lang, "TZ": f":{zone}"} if zone else {"LANG": lang}) == expected
    if zone:
        target = tables / zone
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"TZif")
        link.symlink_to(target)
        plain.write_text("Asia/Kolkata")
        assert found({"LANG": lang}) == expected, "from the link /etc/localtime"


def test_names_of_zones(tmp_path: Path) -> None:
    link = tmp_path / "localtime"
    nothing = str(tmp_path / "nothing")
    assert zone_name({"TZ": "Europe/Oslo"}, nothing, nothing) == "Europe/Oslo"
    assert zone_name({"TZ": "/usr/share/zoneinfo/Europe/Oslo"}, nothing, nothing) == "Europe/Oslo"
    assert zone_name({"TZ": ":posix/Europe/Oslo"}, nothing, nothing) == "Europe/Oslo"
    assert zone_name({}, nothing, nothing) == ""
    plain = tmp_path / "timezone"
    plain.write_text("Europe/Oslo\n")
    link.write_bytes(b"TZif")  # a copy of the zone's file, as in some images
    assert zone_name({}, str(link), str(plain)) == "Europe/Oslo"
    assert zone_name({"TZ": f":{link}"}, str(link), str(plain)) == "Europe/Oslo"


def test_windows_has_a_setting_of_its_own(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(region: str) -> str:
        monkeypatch.setattr(country, "_windows_region", lambda: region)
        nothing = str(tmp_path / "nothing")
        return machine_country(
            {"TZ": "Europe/Oslo"},
            folders=[str(tables)],
            localtime=nothing,
            timezone=nothing,
            platform="win32",
        )

    assert found("AT") == "AT"
    assert found("XK") == "NO", "no code of the closed list"
    assert found("") == "NO"


def test_without_a_time_zone_database_the_package_is_read(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = (str(tmp_path / "nowhere"),)
    assert country_of_zone("Europe/Vienna", nowhere) == ""
    spec = SimpleNamespace(origin=str(tables.parent / "__init__.py"))
    monkeypatch.setattr(country, "find_spec", lambda name: spec)
    country_of_zone.cache_clear()
    assert country_of_zone("Europe/Vienna", nowhere) == "AT"
    country_of_zone.cache_clear()


def test_the_zones_of_this_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real tables: every row of zone.tab gives its country, and each zone has one row."""
    folder = next((one for one in country.FOLDERS if Path(one, "zone.tab").exists()), None)
    if folder is None:
        pytest.skip("this system has no time zone database")
    lines = Path(folder, "zone.tab").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    zones = {row[2]: row[0] for row in rows}
    assert len(zones) == len(rows) > 300
    assert set(zones.values()) <= COUNTRIES
    for zone in ("Europe/Vienna", "America/Sao_Paulo", "Asia/Tokyo", "Africa/Nairobi"):
        assert country_of_zone(zone) == zones[zone]


@given(st.dictionaries(st.sampled_from(["TZ", *country.LOCALES]), st.text(max_size=20)))
def test_no_setting_makes_it_fail(env: dict[str, str]) -> None:
    env = {name: value.replace("\0", "") for name, value in env.items()}
    found = machine_country(env, localtime="/nothing", timezone="/nothing")
    assert found == "ZZ" or found in COUNTRIES


# -- a GeoIP file ----------------------------------------------------------------------------------


def _packed(value: object) -> bytes:
    """One value in the data format of MMDB (maxmind.github.io/MaxMind-DB): a map, a text, or bytes
    that are packed already."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        inside = b"".join(_packed(key) + _packed(one) for key, one in value.items())
        return bytes([7 << 5 | len(value)]) + inside
    text = str(value).encode()
    assert len(text) < 29
    return bytes([2 << 5 | len(text)]) + text


def _short(number: int) -> bytes:
    return bytes([5 << 5 | 2]) + struct.pack(">H", number)


def geoip_file(path: Path, bits: str, record: dict[str, object]) -> Path:
    """An MMDB file for IPv4 in which the addresses that begin with `bits` have `record`."""
    nodes = len(bits)
    tree = b""
    for place, bit in enumerate(bits):
        following = place + 1 if place + 1 < nodes else nodes + 16
        pair = (following, nodes) if bit == "0" else (nodes, following)
        tree += b"".join(struct.pack(">I", one)[1:] for one in pair)
    metadata = _packed(
        {
            "node_count": bytes([6 << 5 | 4]) + struct.pack(">I", nodes),
            "record_size": _short(24),
            "ip_version": _short(4),
            "database_type": "Test-Country",
            "languages": bytes([0, 11 - 7]),  # an empty array
            "binary_format_major_version": _short(2),
            "binary_format_minor_version": _short(0),
            "build_epoch": bytes([8, 9 - 7]) + struct.pack(">Q", 1),
            "description": {},
        }
    )
    path.write_bytes(tree + bytes(16) + _packed(record) + b"\xab\xcd\xefMaxMind.com" + metadata)
    return path


DOCUMENTATION = f"{203:08b}{0:08b}{113:08b}"
"""The bits of 203.0.113.0/24, addresses for documentation."""


@pytest.mark.shows("MARS-10")
@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"country": {"iso_code": "AT"}}, "AT"),
        ({"country": "NO"}, "NO"),
        ({"country_code": "DE"}, "DE"),
        ({"country": {"iso_code": "XK"}}, "ZZ"),
        ({"country": {}}, "ZZ"),
        ({"registered_country": {"iso_code": "AT"}}, "ZZ"),
        ({"city": "Vienna"}, "ZZ"),
    ],
)
def test_mars_10_an_address_that_the_app_knows_has_a_country(
    record: dict[str, object], expected: str, tmp_path: Path
) -> None:
    need("maxminddb")
    file = geoip_file(tmp_path / "country.mmdb", DOCUMENTATION, record)
    assert country_of_address("203.0.113.5", str(file)) == expected
    assert country_of_address("192.0.2.1", str(file)) == "ZZ"


def test_a_new_geoip_file_replaces_the_old_one(tmp_path: Path) -> None:
    need("maxminddb")
    path = tmp_path / "country.mmdb"
    for code in ("AT", "NO"):
        path.unlink(missing_ok=True)
        geoip_file(path, DOCUMENTATION, {"country": {"iso_code": code}})
        os.utime(path, ns=(0, ord(code[0])))
        assert country_of_address("203.0.113.5", str(path)) == code


def test_a_wrong_file_or_address_has_a_code(tmp_path: Path) -> None:
    need("maxminddb")
    file = geoip_file(tmp_path / "country.mmdb", DOCUMENTATION, {"country": "AT"})
    broken = tmp_path / "broken.mmdb"
    broken.write_bytes(b"nothing")
    cut = tmp_path / "cut.mmdb"
    cut.write_bytes(file.read_bytes()[:60] + b"\xab\xcd\xefMaxMind.com")
    for address, path, code in (
        ("example.org", file, "wrong-address"),
        ("", file, "wrong-address"),
        ("2001:db8::1", file, "geoip-unread"),
        ("203.0.113.5", broken, "geoip-unread"),
        ("203.0.113.5", cut, "geoip-unread"),
        ("203.0.113.5", tmp_path / "none.mmdb", "geoip-unread"),
        ("203.0.113.5", tmp_path, "geoip-unread"),
    ):
        with pytest.raises(ConfigError) as caught:
            country_of_address(address, str(path))
        assert caught.value.code == code


# -- in a recorder ---------------------------------------------------------------------------------


@pytest.mark.shows("MARS-10")
def test_mars_10_the_country_is_read_only_if_the_person_shares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(country, "machine_country", lambda: read.append("read") or "AT")
    recorder = methrics.node.open(example_bytes(), home=tmp_path, publisher="none", strict=True)

    def share(*fields: str) -> dict[str, object]:
        grant(
            user_paths(tmp_path),
            recorder.namespace,
            ["heartbeat"],
            fields=fields,
            now=Clock().now(),
        )
        return recorder.facts("heartbeat")

    assert recorder.facts("heartbeat") == {}
    assert share("os", "version").keys() == {"os"}
    assert read == [], "nothing was looked up"
    assert share("os", "country")["country"] == "AT"
    assert recorder.record("heartbeat", **recorder.facts("heartbeat"))
    recorder.close()
    assert machine_facts(["country", "unheard-of"]) == {"country": "AT"}


def test_the_country_of_an_address_is_never_that_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("maxminddb")
    monkeypatch.setattr(country, "machine_country", lambda: "AT")
    file = str(geoip_file(tmp_path / "c.mmdb", DOCUMENTATION, {"country": "NO"}))
    recorder = methrics.node.open(example_bytes(), home=tmp_path, publisher="none")
    paths, now = user_paths(tmp_path), Clock().now()
    assert recorder.facts("heartbeat", address="203.0.113.5", geoip=file) == {}
    grant(paths, recorder.namespace, ["heartbeat"], now=now)
    found = recorder.facts("heartbeat", address="203.0.113.5", geoip=file)
    assert found["country"] == "NO"
    assert recorder.facts("heartbeat", address="192.0.2.1", geoip=file)["country"] == "ZZ"
    found = recorder.facts("heartbeat", address="203.0.113.5", geoip="none.mmdb")
    assert (found["country"], found["os"]) == ("ZZ", machine_facts(["os"])["os"])
    assert recorder.statistics().dropped == {"geoip-unread": 1}
    recorder.close()
