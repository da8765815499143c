"""A query for each built-in view that computes the expected rows from the truth.

The queries read `truth.duckdb`, which `methrics simulate` writes beside a data set. They use what
people did and what they agreed to share, and do not depend on how reports count it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from methrics.aggregate.store.duck import Connection, attach_reader, memory

NOT_SHARED = "(not shared)"

BASE = f"""
CREATE MACRO percent(part, whole) AS round(100.0 * part / nullif(whole, 0))::BIGINT;
CREATE MACRO week(day) AS date_trunc('week', day)::DATE;
CREATE MACRO month(day) AS date_trunc('month', day)::DATE;
CREATE VIEW beats AS
    SELECT a.install, a.day, a.version, i.os,
        CASE WHEN c.fields IS NULL OR list_contains(c.fields, 'country') THEN i.country
        ELSE '{NOT_SHARED}' END AS country,
        min(a.day) OVER (PARTITION BY a.install) AS begun
    FROM active a
    JOIN consent c ON c.install = a.install AND c.type = 'heartbeat'
    JOIN install i ON i.n = a.install;
CREATE VIEW keeps AS
    SELECT a.install, a.day, i.os, min(a.day) OVER (PARTITION BY a.install) AS begun
    FROM active a
    JOIN consent c ON c.install = a.install AND c.type = 'retention'
    JOIN install i ON i.n = a.install;
CREATE VIEW asks AS
    SELECT a.install, min(a.day) AS day
    FROM active a
    JOIN consent c ON c.install = a.install AND c.type = 'assistive'
    GROUP BY a.install, week(a.day);
CREATE VIEW signins AS
    SELECT s.*, row_number() OVER () AS n
    FROM session s
    JOIN consent c ON c.install = s.install AND c.type = 'signin';
CREATE VIEW modules AS
    SELECT e.install, e.day, e.module, e.backend, sum(e.n)::BIGINT AS n
    FROM event e
    JOIN consent c ON c.install = e.install AND c.type = 'module'
    WHERE e.type = 'module'
    GROUP BY ALL;
CREATE VIEW midnights AS
    SELECT s.install, m.module
    FROM session s JOIN modules m ON m.install = s.install AND m.day = s.day
    WHERE s.day <> (s.time + to_seconds(list_max(s.seconds)))::DATE;
CREATE VIEW systems AS
    SELECT r.time::DATE AS day, i.*, 24 * (r.time::DATE - i.first_day) + 1 AS uptime,
        a.version,
        CASE WHEN i.n % 4 > 0 THEN 'x86_64' ELSE 'aarch64' END AS arch,
        1 << (i.n % 6) AS cores, CASE WHEN i.n % 3 > 0 THEN 1 ELSE 3 END AS cluster,
        (SELECT any_value(e.backend) FROM event e WHERE e.install = i.n) AS backend,
        'tls' AS transport
    FROM report r
    JOIN install i ON i.n = r.install
    JOIN active a ON a.install = r.install AND a.day = r.time::DATE
    WHERE r.type = 'system' AND r.fate = 'stored';
CREATE VIEW here AS SELECT * FROM report WHERE fate = 'stored';
"""
"""Macros and views that the queries share. The app asks about assistive technology once a week.
`systems` starts from stored reports, because the truth has no record of how many reports a server
sends, only of their values. Refusals do not include items in quarantine."""


def _shares(base: str, period: str, fields: Sequence[str], key: str) -> str:
    """SQL: rows of `base` per period, field and value, with the share of each value."""
    parts = " UNION ALL ".join(
        f"SELECT {period}(day) AS p, '{field}' AS field, {field}::VARCHAR AS value, {key} AS who "
        f"FROM {base}"
        for field in fields
    )
    return f"""
        WITH part AS (SELECT p, field, value, count(DISTINCT who) AS n FROM ({parts}) GROUP BY ALL)
        SELECT p, field, value, n, (sum(n) OVER (PARTITION BY p, field))::BIGINT AS whole,
            percent(n, whole)
        FROM part"""


_FIRST_OF_WEEK = (
    "(SELECT DISTINCT ON (install, week(day)) * FROM beats ORDER BY install, week(day), day)"
)

_STEPS = "('shown'), ('email_given'), ('code_sent'), ('code_given'), ('signed_in'), ('cancelled')"

_FUNNEL_FIELDS = ("variant", "email_type", "new_account")

_FUNNEL = f"""
    WITH said AS (
        SELECT '' AS field, '' AS value, steps FROM signins
        {
    "".join(
        f"UNION ALL SELECT '{field}', {field}::VARCHAR, steps FROM signins "
        for field in _FUNNEL_FIELDS
    )
}
    )
    SELECT field, value, step, count(*) FILTER (list_contains(steps, step)) AS reached,
        count(*) AS whole, percent(reached, whole)
    FROM said, (VALUES {_STEPS}) s(step)
    GROUP BY ALL
    HAVING reached > 0"""

_ARRIVALS = """
    SELECT greatest(0, arrived::DATE - time::DATE) AS days_later, count(*) AS reports,
        (sum(count(*)) OVER (ORDER BY days_later))::BIGINT AS by_then,
        percent(by_then, sum(count(*)) OVER ())
    FROM here WHERE type = '{}' GROUP BY days_later"""

_WITHHELD = """
    SELECT f.field, count(*) AS reports,
        count(*) FILTER (c.fields IS NOT NULL AND NOT list_contains(c.fields, f.field)) AS withheld,
        percent(withheld, reports)
    FROM here r
    JOIN consent c ON c.install = r.install AND c.type = r.type
    JOIN (SELECT unnest({fields}) AS field) f ON true
    WHERE r.type = '{type}'
    GROUP BY f.field"""

EXACT = {
    "example.heartbeat_dau": "SELECT day, count(*) FROM beats GROUP BY day",
    "example.heartbeat_wau": """
        SELECT week(day) AS week, count(DISTINCT install) FROM beats GROUP BY week""",
    "example.heartbeat_mau": """
        SELECT month(day) AS month, count(DISTINCT install) FROM beats GROUP BY month""",
    "example.heartbeat_stickiness": """
        WITH reach AS (SELECT min(day) AS first, max(day) AS last FROM beats),
        months AS (
            SELECT month(day) AS month, count(*) AS daily, count(DISTINCT install) AS monthly,
                1 + least(last_day(month), any_value(last)) - greatest(month, any_value(first))
                    AS days
            FROM beats, reach GROUP BY month
        )
        SELECT month, days, round(daily / days, 1), monthly, percent(daily / days, monthly)
        FROM months""",
    "example.heartbeat_new_and_returning": """
        WITH weeks AS (
            SELECT DISTINCT week(day) AS week, install, week(day) = week(begun) AS new FROM beats
        )
        SELECT week, nullif(count(*) FILTER (new), 0) AS news,
            nullif(count(*) FILTER (NOT new), 0) AS olds, NULL, percent(news, news + olds)
        FROM weeks GROUP BY week""",
    "example.heartbeat_version_adoption": _shares(_FIRST_OF_WEEK, "week", ["version"], "install"),
    "example.heartbeat_platform_shares": _shares("beats", "month", ["os", "country"], "install"),
    "example.heartbeat_coverage": """
        SELECT day, count(DISTINCT b.install) AS seen, count(DISTINCT a.install) AS known,
            percent(seen, known), day <= (SELECT max(day) FROM beats) - 2
        FROM active a LEFT JOIN beats b USING (install, day)
        GROUP BY day
        HAVING seen > 0""",
    "example.heartbeat_bias": """
        WITH parts AS (
            SELECT i.os, count(b.install) AS seen, count(*) AS known
            FROM active a
            JOIN install i ON i.n = a.install
            LEFT JOIN beats b USING (install, day)
            GROUP BY i.os
        )
        SELECT 'os', os, seen, known, percent(seen, sum(seen) OVER ()),
            percent(known, sum(known) OVER ()), percent(seen, known)
        FROM parts WHERE seen > 0""",
    "example.retention_retention": """
        WITH days AS (SELECT *, day - begun AS after FROM keeps),
        cohorts AS (
            SELECT week(begun) AS cohort, after, count(*) AS n
            FROM days WHERE after IN (0, 1, 7, 30) GROUP BY ALL
        ),
        newest AS (SELECT max(day) AS newest FROM days WHERE after IN (0, 1, 7, 30))
        SELECT cohort, after, n, max(n) FILTER (after = 0) OVER (PARTITION BY cohort) AS whole,
            percent(n, whole), cohort + (6 + after)::INTEGER <= newest - 2
        FROM cohorts, newest""",
    "example.retention_report_shares": _shares(
        "(SELECT * FROM keeps WHERE day - begun IN (0, 1, 7, 30))",
        "month",
        ["os"],
        "(install, day)",
    ),
    "example.assistive_mau": """
        SELECT month(day) AS month, count(DISTINCT install) FROM asks GROUP BY month""",
    "example.signin_sessions": "SELECT day, count(*) FROM signins GROUP BY day",
    "example.signin_events": """
        SELECT day, count(*), count(*), count(*), count(*) FROM signins GROUP BY day""",
    "example.signin_funnel": _FUNNEL,
    "example.signin_report_shares": _shares("signins", "month", _FUNNEL_FIELDS, "n"),
    "example.module_counts": """
        WITH said AS (
            SELECT month(day) AS month, '' AS field, '' AS value, n FROM modules
            UNION ALL SELECT month(day), 'module', module, n FROM modules
            UNION ALL SELECT month(day), 'backend', backend, n FROM modules
        )
        SELECT month, field, value, count(*), sum(n)::BIGINT FROM said GROUP BY ALL""",
    "example.module_report_shares": _shares(
        "modules", "month", ["module", "backend"], "(install, day, module)"
    ),
    "example.system_report_shares": _shares(
        "(SELECT *, row_number() OVER () AS one FROM systems)",
        "month",
        ["version", "os", "arch", "backend", "transport"],
        "one",
    ),
    "reports_per_day": """
        SELECT time::DATE AS day, 'example', type, count(*) FROM here GROUP BY ALL""",
    "refusals": """
        SELECT day, reason, sum(items)::BIGINT FROM attack
        WHERE reason NOT IN ('ok', 'known', 'lost') GROUP BY ALL""",
}
"""View -> query for its exact rows, without losses and attackers."""

_FIELDS = {
    "heartbeat": ["version", "os", "daily", "weekly", "monthly", "age", "country"],
    "retention": ["milestone", "os"],
    "signin": [*_FUNNEL_FIELDS],
    "module": ["module", "backend"],
    "system": [*("version", "os", "arch", "cores", "uptime", "cluster", "backend", "transport")],
    "assistive": ["tool", "monthly"],
}
for _type, _fields in _FIELDS.items():
    EXACT[f"example.{_type}_arrivals"] = _ARRIVALS.format(_type)
    EXACT[f"example.{_type}_withheld"] = _WITHHELD.format(type=_type, fields=_fields)

VALUES = {
    "example.system_quantiles": """
        SELECT unnest(['cores', 'uptime', 'cluster']), unnest([cores, uptime, cluster])
        FROM systems""",
    "example.signin_step_times": """
        SELECT step, list_extract(seconds, list_position(steps, step))
        FROM signins, (SELECT unnest(['shown', 'email_given', 'code_sent', 'code_given',
            'signed_in', 'cancelled']) AS step)
        WHERE list_contains(steps, step)""",
}
"""View of quantiles -> query for its first column and the exact values."""

ANSWERS = {
    "example.assistive_randomized": """
        SELECT month(day) AS month, a.field, a.value, count(DISTINCT install)
        FROM asks JOIN answer a USING (install)
        WHERE a.type = 'assistive'
        GROUP BY ALL""",
}
"""View of randomized response -> query for the true number of each value per period."""

LOOSE = {
    "example.heartbeat_version_adoption": (
        3,
        """SELECT 2 * count(*) FROM (
            SELECT DISTINCT ON (install, week(day)) * FROM beats ORDER BY install, week(day), day
        ) b JOIN active a ON a.install = b.install AND a.day = b.day - 1 AND a.version <> b.version
        """,
    ),
    "example.module_counts": (3, "SELECT 3 * count(*) FROM midnights"),
    "example.module_report_shares": (3, "SELECT 2 * count(*) FROM midnights"),
}
"""View -> the column with counts, and a query for the allowed sum of differences. The truth leaves
a few cases around midnight open: a person who uses the app over midnight may report the new day
before an update on that day, and a count after a sign-in over midnight may belong to either
day."""

EXEMPT = dict.fromkeys(
    ("namespaces", "namespace_changes"),
    "about the namespace's records, which no simulated person makes",
)
"""View without a truth query -> the reason."""


class Truth:
    """An open truth file; close it after use."""

    def __init__(self, path: Path) -> None:
        self._con: Connection = memory()
        attach_reader(self._con, path)
        self._con.execute("CREATE SCHEMA asked")
        self._con.execute("SET search_path = 'memory.asked,methrics.main'")
        for statement in BASE.split(";"):
            if statement.strip():
                self._con.execute(statement)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self._con.execute(sql).fetchall()

    def one(self, sql: str) -> Any:
        """The only cell of a query's result."""
        return self.rows(sql)[0][0]

    def close(self) -> None:
        """Closes the file."""
        self._con.close()


def write_known(truth: Truth, path: Path) -> None:
    """Writes the known totals: all installs of each day, whether they agreed or not."""
    rows = truth.rows(
        "SELECT day, '', '', count(*) FROM active GROUP BY day UNION ALL "
        "SELECT day, 'os', os, count(*) FROM active JOIN install ON n = install GROUP BY ALL"
    )
    lines = ["day,field,value,installs", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
