"""Load each public name of a package on first use (PEP 562), so that imports are fast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping


def front(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a package that re-exports names.

    `homes` maps each public name to the module that defines it. A name is loaded once and then
    stored in the package.
    """

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        value: object = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load, names
