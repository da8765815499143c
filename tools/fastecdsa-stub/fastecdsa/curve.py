"""Stand-in; see the package."""

from __future__ import annotations


class Curve:
    """A curve that can be named but not computed on."""


P256 = Curve()
