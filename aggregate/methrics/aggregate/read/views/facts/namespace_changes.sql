-- What each record of a namespace changed, by the time of the record, one line for each change:
-- catalogs listed, delisted, dropped or listed again (relisted), event types revoked or restored
-- (with the time from which that counts), and records that contradict each other because both follow
-- the same one (`healed` once a later record names or settles both). The notes `end moved`, `end withdrawn` and
-- `start changed` tell of a listing that differs from what was said before: nodes with the older
-- record judged by that. Does not see records that nobody sent to this aggregator.
WITH record_of AS (
    SELECT *, row_number() OVER (PARTITION BY key ORDER BY time, id) AS place,
        row_number() OVER (PARTITION BY key ORDER BY time DESC, id DESC) = 1 AS newest
    FROM record
), pair AS (
    SELECT r.key, r.n, r.time AS record_time, p.n AS before
    FROM record_of r LEFT JOIN record_of p ON p.key = r.key AND p.place = r.place - 1
), conflict AS (
    SELECT b.key, b.time AS record_time, a.id AS other,
        coalesce(b.time <= n.settled, false) OR EXISTS (
            SELECT 1 FROM record c WHERE c.key = a.key AND list_has_all(c.previous, [a.id, b.id])
                AND (c.time, c.id) > (b.time, b.id)
        ) AS healed
    FROM record a JOIN record b ON a.key = b.key AND (a.time, a.id) < (b.time, b.id)
    JOIN record_of n ON n.key = a.key AND n.newest
    WHERE (list_has_any(a.previous, b.previous) OR (len(a.previous) = 0 AND len(b.previous) = 0))
        AND NOT list_contains(a.previous, b.id) AND NOT list_contains(b.previous, a.id)
        AND NOT coalesce(a.time <= b.settled, false)
), changes AS (
    SELECT p.key, record_time, 'listed' AS change, lower(hex(l.catalog)) AS what, l.listed AS since,
        NULL AS note
    FROM pair p JOIN listing l ON l.record = p.n
    LEFT JOIN listing o ON o.record = p.before AND o.catalog = l.catalog
    WHERE o.catalog IS NULL
    UNION ALL
    SELECT p.key, record_time, 'relisted', lower(hex(l.catalog)), l.listed, CASE
            WHEN o.delisted <= l.listed THEN NULL
            WHEN o.delisted IS NOT NULL AND l.delisted IS NULL THEN 'end withdrawn'
            ELSE 'start changed'
        END
    FROM pair p JOIN listing l ON l.record = p.n
    JOIN listing o ON o.record = p.before AND o.catalog = l.catalog
    WHERE l.listed <> o.listed OR (o.delisted IS NOT NULL AND l.delisted IS NULL)
    UNION ALL
    SELECT p.key, record_time, 'delisted', lower(hex(l.catalog)), l.delisted,
        if(o.delisted > l.listed, 'end moved', NULL)
    FROM pair p JOIN listing l ON l.record = p.n
    LEFT JOIN listing o ON o.record = p.before AND o.catalog = l.catalog
    WHERE l.delisted IS NOT NULL AND l.delisted IS DISTINCT FROM o.delisted
    UNION ALL
    SELECT p.key, record_time, 'dropped', lower(hex(o.catalog)), NULL, NULL
    FROM pair p JOIN listing o ON o.record = p.before
    LEFT JOIN listing l ON l.record = p.n AND l.catalog = o.catalog
    WHERE l.catalog IS NULL
    UNION ALL
    SELECT p.key, record_time, 'revoked', v.type, v.time, v.reason
    FROM pair p JOIN revoked v ON v.record = p.n
    LEFT JOIN revoked o ON o.record = p.before AND o.type = v.type
    WHERE v.time IS DISTINCT FROM o.time
    UNION ALL
    SELECT p.key, record_time, 'restored', o.type, NULL, NULL
    FROM pair p JOIN revoked o ON o.record = p.before
    LEFT JOIN revoked v ON v.record = p.n AND v.type = o.type
    WHERE v.type IS NULL
    UNION ALL
    SELECT key, record_time, 'contradicts', lower(hex(other)), NULL, if(healed, 'healed', NULL)
    FROM conflict
), named AS (
    SELECT key, string_agg(DISTINCT label, ' ' ORDER BY label) AS label FROM catalog GROUP BY key
)
SELECT coalesce(label, '') AS label, lower(hex(key)) AS key, record_time, change, what, since, note
FROM changes LEFT JOIN named USING (key)
ORDER BY label, key, record_time, change, what
