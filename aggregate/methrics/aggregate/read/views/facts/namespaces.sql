-- The namespaces of the data, by their newest records: how many catalogs are listed at the time of
-- that record, how many were ever listed, how many event types are revoked, how many records there
-- are, how many of them changed the list, and whether two records contradict each other.
-- Does not see records that nobody sent to this aggregator. Many changes, or many catalogs, can mean
-- that installs get catalogs of their own, which would tell them apart.
WITH record_of AS (
    SELECT *, row_number() OVER (PARTITION BY key ORDER BY time, id) AS place,
        row_number() OVER (PARTITION BY key ORDER BY time DESC, id DESC) = 1 AS newest
    FROM record
), said AS (
    SELECT record, list((catalog, listed, delisted) ORDER BY catalog) AS what FROM listing GROUP BY record
), compared AS (
    SELECT r.*, s.what, lag(s.what) OVER (PARTITION BY r.key ORDER BY r.place) AS before
    FROM record_of r LEFT JOIN said s ON s.record = r.n
), counted AS (
    SELECT key, count(*) AS records,
        count(*) FILTER (place > 1 AND what IS DISTINCT FROM before) AS changes
    FROM compared GROUP BY key
), ever AS (
    SELECT r.key, count(DISTINCT l.catalog) AS ever_listed
    FROM record r JOIN listing l ON l.record = r.n GROUP BY r.key
), proof AS (
    SELECT DISTINCT a.key
    FROM record a JOIN record b ON a.key = b.key AND (a.time, a.id) < (b.time, b.id)
    JOIN record_of n ON n.key = a.key AND n.newest
    WHERE (list_has_any(a.previous, b.previous) OR (len(a.previous) = 0 AND len(b.previous) = 0))
        AND NOT list_contains(a.previous, b.id) AND NOT list_contains(b.previous, a.id)
        AND NOT coalesce(a.time <= b.settled, false)
        AND NOT coalesce(b.time <= n.settled, false)
        AND NOT EXISTS (
            SELECT 1 FROM record c WHERE c.key = a.key AND list_has_all(c.previous, [a.id, b.id])
                AND (c.time, c.id) > (b.time, b.id)
        )
), named AS (
    SELECT key, string_agg(DISTINCT label, ' ' ORDER BY label) AS label FROM catalog GROUP BY key
)
SELECT
    coalesce(named.label, '') AS label,
    lower(hex(r.key)) AS key,
    r.time AS record_time,
    r.expires,
    (
        SELECT count(*) FROM listing l WHERE l.record = r.n AND l.listed <= r.time
            AND (l.delisted IS NULL OR l.delisted > r.time)
    ) AS live_catalogs,
    coalesce(ever_listed, 0) AS ever_listed,
    (SELECT count(*) FROM revoked v WHERE v.record = r.n) AS revoked_types,
    records,
    changes,
    r.key IN (FROM proof) AS equivocation
FROM record_of r
JOIN counted USING (key)
LEFT JOIN ever USING (key)
LEFT JOIN named USING (key)
WHERE r.newest
ORDER BY label, key
