"""One problem of a catalog: a stable code, its place, a description and how to solve it."""

from __future__ import annotations

ERROR = "error"
"""The catalog cannot be signed."""

WARNING = "warning"
"""The catalog can be signed, but its author should reconsider."""

ADVICE = "advice"
"""Nothing is wrong; the author may know a reason against the proposal."""


class Problem:
    """One finding about a catalog. `where` is a dotted path such as `types.heartbeat.fields.os`."""

    __slots__ = ("code", "message", "severity", "where")

    def __init__(self, code: str, where: str, message: str, severity: str = ERROR) -> None:
        self.code = code
        self.where = where
        self.message = message
        self.severity = severity

    def __str__(self) -> str:
        return f"{self.severity} {self.code} {self.where}: {self.message}"

    def __repr__(self) -> str:
        return f"Problem({self.code!r}, {self.where!r}, {self.message!r}, {self.severity!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))
