"""Package fronts that load a name when it is first used (PEP 562), so that importing is cheap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping


def front(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package that re-exports names.

    `homes`: public name -> the module that defines it. A loaded name is kept in the package.
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
