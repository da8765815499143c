"""The settings of a simulation: the number of people and days, the behaviour, the attackers."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from methrics.schema.errors import ConfigError

DAY = 86_400

START = 1_799_020_800
"""2027-01-04 00:00 UTC, a Monday: weeks are whole, and within 90 days Europe, North America and
Australia change their clocks on different dates."""

INSTALLS_MAX = 1_000_000
DAYS_MAX = 540
"""Maximum number of days: the example catalog's event types expire after that."""


ONE_IN = (1, 2, 5, 10, 100)
"""The sampling rates that the example catalog declares for sign-ins: one report in this many."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a simulation. The same settings give the same data set, byte for byte."""

    installs: int = 1000
    days: int = 30
    seed: int = 1
    opt_in: float = 0.6
    """Share of installs whose owner agrees; more on some systems than on others."""
    churn: float = 0.5
    """Share of installs that are abandoned within 30 days of their first."""
    devices: float = 1.3
    """Installs of one person, on average."""
    skew: float = 0.02
    """Share of machines whose clock is wrong: mostly by minutes, some by hours, few by days."""
    one_in: int = 1
    """The app reports one in this many sign-ins: 1, 2, 5, 10 or 100."""
    loss: float = 0.0
    """Share of bundles that never reach the aggregator, after relays accepted their items."""
    mix: bool = True
    """Relays let each report rest until a random moment of the next day; otherwise for 30
    seconds."""
    flooders: int = 0
    """Reports per day of installs that do not exist, well formed and signed."""
    forgers: int = 0
    """Bundles per day with something forged or malformed in them."""
    replayers: int = 0
    """Old reports per day that are sent again."""
    squatters: int = 0
    """Catalogs and reports per day that use the app's label with another key."""
    start: int = START
    """First midnight, unix seconds."""

    def check(self) -> None:
        """Raise ConfigError if these settings cannot be simulated."""
        for name, most in (("installs", INSTALLS_MAX), ("days", DAYS_MAX)):
            if not 1 <= getattr(self, name) <= most:
                raise _bad(name, f"a whole number from 1 to {most}")
        for name in ("opt_in", "skew", "loss"):
            if not 0 <= getattr(self, name) <= 1:
                raise _bad(name, "a share from 0 to 1")
        if not 0 <= self.churn < 1:
            raise _bad("churn", "a share from 0 to less than 1")
        if not 1 <= self.devices <= 5:
            raise _bad("devices", "a number from 1 to 5")
        for name in ("flooders", "forgers", "replayers", "squatters"):
            if getattr(self, name) < 0:
                raise _bad(name, "0 or more")
        if self.one_in not in ONE_IN:
            raise _bad("one_in", f"one of {', '.join(map(str, ONE_IN))}")
        if self.start % DAY:
            raise _bad("start", "a midnight, UTC")

    def as_dict(self) -> dict[str, object]:
        """Every setting by name."""
        return asdict(self)


def _bad(name: str, wanted: str) -> ConfigError:
    option = name.replace("_", "-")
    return ConfigError("bad-simulation", f"{option} is not {wanted}", f"give another --{option}")
