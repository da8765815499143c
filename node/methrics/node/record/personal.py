"""Loads the classes with which an app shows questions and reports to a person, on first use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from methrics.node.process.foreign import pass_on
from methrics.schema.errors import StoreError

if TYPE_CHECKING:
    from methrics.node.consent.asking import Asking
    from methrics.node.mine.mine import Mine


def asking_class() -> type[Asking]:
    """Returns the class `Asking`. Raises StoreError if its modules cannot be read now."""
    with _loads():
        from methrics.node.consent.asking import Asking
    return Asking


def mine_class() -> type[Mine]:
    """Returns the class `Mine`. Raises StoreError if its modules cannot be read now."""
    with _loads():
        from methrics.node.mine.mine import Mine
    return Mine


@contextlib.contextmanager
def _loads() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        pass_on(error)
        raise StoreError(
            "not-loaded",
            f"cannot load methrics: {error.strerror or error}",
            "close some files, then try again",
        ) from error
