-- Median and 90th percentile of each number that is reported in buckets. The true value, of the
-- reports shown, lies in [low, high); `estimate` assumes that values are spread evenly within a
-- bucket. An edge is empty where the bucket is open.
-- Does not weigh installs equally: installs that report often weigh more.
-- for each type with: any
-- for each field of: bucket
-- labels: field, low, high, one_in
-- size: reports
-- numbers: quantile
-- bounds: estimate
WITH buckets AS (
    SELECT catalog, {column} AS bucket, one_in, count(*) AS reports
    FROM {table}
    WHERE {column} IS NOT NULL
    GROUP BY ALL
)
SELECT {field} AS field, c.low, c.high, b.one_in, sum(b.reports)::BIGINT AS reports
FROM buckets b
JOIN code c ON c.type = {type} AND c.catalog = b.catalog AND c.field = {field}
    AND c.text = b.bucket::VARCHAR
GROUP BY ALL
-- shown
WITH
bins AS (
    SELECT field, low, high, sum(one_in * reports)::BIGINT AS n
    FROM shown
    GROUP BY field, low, high
),
ranked AS (
    SELECT *,
        sum(n) OVER (PARTITION BY field ORDER BY low NULLS FIRST, high NULLS LAST) AS up_to,
        sum(n) OVER (PARTITION BY field ORDER BY high NULLS LAST) AS under,
        sum(n) OVER (PARTITION BY field) AS whole
    FROM bins
),
-- Buckets of catalogs with different edges overlap, so low and high edges are sorted separately.
found AS (
    SELECT *, (SELECT min(o.high) FROM ranked o WHERE o.field = r.field AND o.under >= rank) AS top
    FROM (SELECT *, whole * quantile / 100.0 AS rank FROM ranked, (VALUES (50), (90)) q(quantile)) r
    WHERE up_to >= rank AND up_to - n < rank
)
SELECT field, whole::BIGINT AS reports, quantile, low,
    round(low + (top - low) * (rank - (up_to - n)) / n, 2) AS estimate, top AS high
FROM found
ORDER BY field, quantile
