"""Finds the country of this machine, or of an address that an app already knows, without a network.

The machine's country comes from the person's settings, in this order:

1. Windows: the country in the region settings.
2. The time zone. The table zone.tab of the time zone database has one country for each zone. An
   older name of a zone counts if all of its current zone lies in one country (zone1970.tab).
3. The region of the locale, such as AT in `de_AT`. It is used only if the zone has no country, as
   UTC. `en_US` does not count then, because it is the default of many images and servers.

The time zone is preferred to the locale: people set the zone to where they are, but many choose a
locale for its language. If nothing is known, the country is ZZ.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any

from methrics.schema.catalog.regions import COUNTRIES, NOWHERE
from methrics.schema.errors import ConfigError

FOLDERS = ("/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo")
"""Folders of the time zone database; without one, the package tzdata is used, if it is installed.
These are the defaults of Python's `zoneinfo.TZPATH`."""

LOCALTIME, TIMEZONE = "/etc/localtime", "/etc/timezone"
"""The link to the system's zone, and the file that Debian also writes its name to."""

LOCALES = ("LC_ALL", "LC_ADDRESS", "LC_MONETARY", "LC_TIME", "LANG")
"""Variables of the locale. A desktop sets those in the middle when a person chooses a region that
differs from the language."""

_TABLE_MAX = 1 << 20
"""Most bytes that are read of a table; the largest has 110,000."""


def machine_country(
    env: Mapping[str, str] = os.environ,
    *,
    folders: Iterable[str] = FOLDERS,
    localtime: str = LOCALTIME,
    timezone: str = TIMEZONE,
    platform: str = sys.platform,
) -> str:
    """Returns the country of this machine (ISO 3166-1 alpha-2), ZZ if it is not known. Raises no
    error; reads at most five files. The other arguments are for tests."""
    if platform == "win32" and (chosen := _known(_windows_region())):
        return chosen
    zone = zone_name(env, localtime, timezone)
    found = country_of_zone(zone, tuple(folders)) if zone else ""
    return found or country_of_locale(env) or NOWHERE


def zone_name(env: Mapping[str, str], localtime: str = LOCALTIME, timezone: str = TIMEZONE) -> str:
    """Returns the name of the time zone, such as `Europe/Vienna`; "" if it has no name. TZ comes
    before the system's setting, as for every program."""
    chosen = env.get("TZ", "").removeprefix(":")
    if chosen and os.path.abspath(chosen) != localtime:
        return _after_folder(chosen)
    try:
        name = _after_folder(os.path.realpath(localtime, strict=True))
    except OSError:
        name = ""
    return name or _read(timezone).strip()


@lru_cache(maxsize=8)
def country_of_zone(zone: str, folders: tuple[str, ...] = FOLDERS) -> str:
    """Returns the one country of a time zone, "" if it has none or several."""
    for folder in _folders(folders):
        by_zone = {row[2]: row[0] for row in _rows(os.path.join(folder, "zone.tab"), 3)}
        if not by_zone:
            continue
        if zone in by_zone:
            return _known(by_zone[zone])
        current = _current_name(os.path.join(folder, "tzdata.zi"), zone)
        shared = {
            row[2]: row[0].split(",") for row in _rows(os.path.join(folder, "zone1970.tab"), 3)
        }
        countries = shared.get(current, [])
        return _known(countries[0]) if len(countries) == 1 else ""
    return ""


def country_of_locale(env: Mapping[str, str]) -> str:
    """Returns the region of the locale, "" if it has none or is `en_US`."""
    for name in LOCALES:
        words = env.get(name, "").partition(".")[0].partition("@")[0].split("_")
        region = _known(words[-1])
        if region and len(words) > 1 and (words[0], region) != ("en", "US"):
            return region
    return ""


def country_of_address(address: str, database: str) -> str:
    """Returns the country of a network address from a GeoIP file in the MMDB format; ZZ if the file
    does not know the address. Nothing leaves this machine.

    Needs the package maxminddb (extra `geoip`). Raises ConfigError: `no-geoip` without the package,
    `geoip-unread` if the file cannot be read, `wrong-address` if `address` is no IP address.
    """
    maxminddb = _maxminddb()
    try:
        known_form = ip_address(address)
    except ValueError as error:
        raise ConfigError("wrong-address", str(error), "pass an IPv4 or IPv6 address") from error
    try:
        at = os.stat(database)
        reader = _opened(os.path.abspath(database), at.st_mtime_ns, at.st_size)
        record: Any = reader.get(known_form)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise ConfigError(
            "geoip-unread", f"cannot read {database}: {error}", "name a country database (MMDB)"
        ) from error
    # Most files follow MaxMind's layout, {"country": {"iso_code": "AT"}}; some have plain texts.
    found = record if isinstance(record, dict) else {}
    country = found.get("country", found.get("country_code"))
    code = country.get("iso_code") if isinstance(country, dict) else country
    return _known(str(code)) or NOWHERE


def _maxminddb() -> Any:
    try:
        import maxminddb
    except ModuleNotFoundError as error:
        raise ConfigError(
            "no-geoip", "reading a GeoIP file needs maxminddb", "pip install 'methrics[geoip]'"
        ) from error
    return maxminddb


@lru_cache(maxsize=4)
def _opened(database: str, changed: int, size: int) -> Any:
    """Returns a reader of the file, which is opened again when it has changed."""
    return _maxminddb().open_database(database)


def _known(country: str) -> str:
    return country if country in COUNTRIES else ""


def _after_folder(path: str) -> str:
    """Returns the name of a zone, given it or the path of its file in a time zone database."""
    inside = re.split(r"zoneinfo[^/]*/", path)
    name = inside[-1] if len(inside) > 1 or not os.path.isabs(path) else ""
    return name.removeprefix("posix/").removeprefix("right/")


def _folders(folders: Iterable[str]) -> Iterator[str]:
    yield from folders
    spec = find_spec("tzdata")
    if spec is not None and spec.origin is not None:
        yield os.path.join(os.path.dirname(spec.origin), "zoneinfo")


def _rows(path: str, columns: int) -> Iterator[list[str]]:
    """Yields the rows of a table of the time zone database that have enough columns."""
    for line in _read(path).splitlines():
        row = line.split("\t")
        if not line.startswith("#") and len(row) >= columns:
            yield row


def _current_name(path: str, zone: str) -> str:
    """Returns the zone to which `zone` is a link (`L <zone> <link>`), else `zone` itself."""
    for line in _read(path).splitlines():
        words = line.split()
        if words[:1] == ["L"] and words[2:3] == [zone]:
            return words[1]
    return zone


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_TABLE_MAX).decode("utf-8", "replace")
    except OSError:
        return ""


def _windows_region() -> str:
    """Returns the country in the region settings of Windows 10 and later, else ""."""
    if sys.platform != "win32":
        return ""
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, r"Control Panel\International\Geo") as key:
            return str(winreg.QueryValueEx(key, "Name")[0])
    except OSError:
        return ""
