"""Renders the HTML templates of a package: every value is escaped, a missing one is an error.

A template is a file in the folder `templates` of its package. jinja2 belongs to the extra `node`
and is imported when the first page is rendered, so that the base install does not need it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def render(package: str, template: str, **values: object) -> str:
    """The text of `template` (a file name) of `package` (a dotted name) with these values.

    Raises jinja2.UndefinedError when the template uses a name that has no value, and
    ModuleNotFoundError without jinja2.
    """
    return _environment(package).get_template(template).render(**values)


@cache
def _environment(package: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
