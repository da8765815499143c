"""SQL that reads the waiting rows, and computes when rows, reports and erasures are due."""

from __future__ import annotations

from methrics.node.outbox.rows import CLOCK_SLACK, ERASURE_MAX, HANDED_TIME, PACE_MAX, VISIT_MAX

WAITING = """
  SELECT 'event' AS source, n, catalog, type, time, due, one_in, fields, steps, NULL, 0 FROM event
  UNION ALL
  SELECT 'counter', n, catalog, type, time, due, one_in, fields, NULL, count, 0 FROM counter
  UNION ALL
  SELECT 'state', n, catalog, type, time, max(due) OVER (PARTITION BY type ORDER BY period),
  one_in, fields, NULL, NULL, period FROM state
"""
"""A state is not due before the states of earlier periods. Otherwise its report would get the flags
that belong to theirs."""
REPORT_DUE = f"CASE WHEN due > ?1 + {HANDED_TIME} THEN time ELSE max(due, time) END"
ERASURE_DUE = f"CASE WHEN due > ?1 + {ERASURE_MAX} OR made > ?1 + {CLOCK_SLACK} THEN 0 ELSE due END"
PACE_NEXT = (
    f"CASE WHEN p.last > ?1 + {CLOCK_SLACK} OR p.next > ?1 + {PACE_MAX} THEN 0 "
    "ELSE coalesce(p.next, 0) END"
)
"""SQL expressions for when a report, an erasure or the next report of a type is due. ?1: now. A
time that was stored while the clock was ahead is not waited for. A report is not due before its own
time: no receiver would accept it."""
NEXT_DUE = (
    f"SELECT min(due) FROM (SELECT min({REPORT_DUE}) AS due FROM report "
    f"WHERE state = 'due' UNION ALL SELECT min({ERASURE_DUE}) FROM erasure "
    f"WHERE state = 'due' UNION ALL SELECT min(max(w.due, {PACE_NEXT})) FROM ("
    "SELECT type, min(due) AS due FROM event GROUP BY type "
    "UNION ALL SELECT type, min(due) FROM counter GROUP BY type "
    # The columns beside a minimum are those of its row (sqlite.org/lang_select.html).
    "UNION ALL SELECT type, due FROM (SELECT type, min(period), due FROM state "
    "GROUP BY type)) w LEFT JOIN pace p USING (type))"
)
"""The earliest time at which anything in an outbox is due. ?1: now."""
NEXT_VISIT = "next_visit"
"""Name of the row of `meta` with the time of the next visit to an entry."""
SETTLED = (
    f"SELECT ({NEXT_DUE}), (SELECT CASE WHEN value > ?1 + {VISIT_MAX} THEN 0 ELSE value END "
    f"FROM meta WHERE name = '{NEXT_VISIT}')"
)
"""The same, and the time of the next visit, NULL if none was drawn. ?1: now."""
PENDING = f"""
SELECT w.* FROM ({WAITING}) w LEFT JOIN pace p USING (type)
WHERE w.due <= ?1 AND {PACE_NEXT} <= ?1 ORDER BY w.due, w.time LIMIT ?2
"""
"""The waiting rows that may become reports. ?1: now. ?2: most rows."""
