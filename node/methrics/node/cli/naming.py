"""Names that a person types: an app by its label or a prefix, and a suggestion for a wrong name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

from methrics.schema.errors import ConfigError

NEAR = 0.6
"""How alike two names must be for one to be suggested for the other (difflib's ratio)."""

LISTED = 8
"""Names listed in an error at most."""

_NAME = re.compile(r"[a-z][a-z0-9-]*-[a-z2-7]{16}")
"""A whole name of an app: `<label>-<short key>`."""


class WrongUseError(ConfigError):
    """Raised for a command line that cannot work, whatever this machine's state: exit code 2."""

    exit_code = 2


class WrongNameError(WrongUseError):
    """Raised for a name that stands for nothing or for several things."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__("wrong-name", message, hint)


def matches(word: str, apps: Iterable[str], *, whole: bool = False) -> list[str]:
    """The apps (`<label>-<short key>`) that `word` stands for, sorted.

    The whole name comes first, then a whole label, then a prefix: with the labels `shop` and
    `shopping` here, `shop` is the first one and `shopp` the second. `whole`: without prefixes, for
    commands that change something: if only `shopping` is here, `shop` must not stand for it. A word
    that looks like a whole name is then no label either, because anyone can choose a label that is
    another app's name.
    """
    known = sorted(set(apps))
    if not word:
        return []
    if word in known:
        return [word]
    if whole and _NAME.fullmatch(word):
        return []
    labelled = [name for name in known if name.rpartition("-")[0] == word]
    return labelled if labelled or whole else [name for name in known if name.startswith(word)]


def resolve_app(word: str, apps: Iterable[str], *, whole: bool = False) -> str:
    """The one app that `word` stands for; `whole` as for `matches`. Raises WrongNameError for none
    or several."""
    known = sorted(set(apps))
    found = matches(word, known, whole=whole)
    if len(found) == 1:
        return found[0]
    if found:
        raise WrongNameError(f"{word} is more than one app", f"one of {listed(found)}")
    raise WrongNameError(f"no app here is called {word}", _suggestion(word, known))


def resolve_apps(
    words: Iterable[str], apps: Iterable[str], *, whole: bool = False
) -> tuple[str, ...]:
    """The apps that `words` stand for, each once, in the order typed; `whole` as for `matches`.
    Raises WrongNameError."""
    known = sorted(set(apps))
    return tuple(dict.fromkeys(resolve_app(word, known, whole=whole) for word in words))


def check_names(words: Iterable[str], known: Collection[str], *, kind: str, owner: str) -> None:
    """Raises WrongNameError for the first of `words` that is not in `known`.

    `kind` and `owner` make the sentence: "shop has no event type veiw".
    """
    for word in words:
        if word not in known:
            raise WrongNameError(f"{owner} has no {kind} {word}", _suggestion(word, sorted(known)))


def near(word: str, names: Sequence[str]) -> list[str]:
    """The few of `names` that `word` may be a misspelling of, most alike first; apps are compared
    by their label as well."""
    labels = {name.rpartition("-")[0]: name for name in reversed(names) if "-" in name}
    spelt = [*names, *labels]
    found = get_close_matches(word.lower(), spelt, n=3, cutoff=NEAR)
    return list(dict.fromkeys(labels.get(one, one) for one in found))


def listed(names: Sequence[str]) -> str:
    """Some names in one line; how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _suggestion(word: str, known: Sequence[str]) -> str:
    found = near(word, known)
    if found:
        return f"did you mean {' or '.join(found)}?"
    return f"known here: {listed(known) or 'none'}"
