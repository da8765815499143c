"""Every method that replaces one of libp2p is marked, and libp2p still has a method to replace."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator

import pytest

from methrics.node.network import libp2p
from methrics.node.network.libp2p.compat import override
from methrics.node.network.libp2p.network import QuietHost


def own_classes() -> Iterator[type]:
    for found in pkgutil.iter_modules(libp2p.__path__, libp2p.__name__ + "."):
        for one in vars(importlib.import_module(found.name)).values():
            if isinstance(one, type) and one.__module__ == found.name:
                yield one


def functions(one: type) -> dict[str, Callable[..., object]]:
    found = {}
    for name, member in vars(one).items():
        member = member.fget if isinstance(member, property) else member
        if inspect.isfunction(member):
            found[name] = member
    return found


def breaches(one: type) -> list[str]:
    """Methods of a class that are marked and replace nothing, or the other way round."""
    theirs = [base for base in one.__mro__[1:] if base.__module__.startswith("methrics._vendor.")]
    found = []
    for name, method in functions(one).items():
        replaces = any(name in vars(base) for base in one.__mro__[1:-1])
        marked = getattr(method, "__override__", False)
        if marked and not replaces:
            found.append(f"{one.__name__}.{name} replaces nothing")
        if theirs and replaces and not marked and name != "__init__":
            found.append(f"{one.__name__}.{name} is not marked")
    return found


CLASSES = [
    one
    for one in own_classes()
    if any(b.__module__.startswith("methrics._vendor.") for b in one.__mro__)
]


def test_the_classes_that_replace_parts_of_libp2p_are_found() -> None:
    names = {one.__name__ for one in CLASSES}
    assert {"Muxer", "Stream", "GuardedSwarm", "QuietHost"} <= names


def test_nothing_is_built_on_the_pubsub_of_libp2p() -> None:
    bases = {base.__module__ for one in CLASSES for base in one.__mro__}
    assert not [base for base in bases if ".pubsub." in base]


@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.__name__)
def test_each_override_is_marked_and_replaces_a_method(one: type) -> None:
    assert breaches(one) == []


def test_a_method_that_libp2p_no_longer_has_is_found() -> None:
    class Renamed(QuietHost):
        @override  # type: ignore[misc]
        def get_addrs_of_an_older_version(self) -> None: ...

        async def close(self) -> None: ...

    assert breaches(Renamed) == [
        "Renamed.get_addrs_of_an_older_version replaces nothing",
        "Renamed.close is not marked",
    ]
