-- When interactions first reached each step, in seconds after their first step: the median and the
-- 90th percentile of those that reached it. The true value, of the interactions shown, lies in
-- [low, high); `estimate` assumes that times are spread evenly within a bucket. An edge is empty
-- where the bucket is open.
-- Does not cover interactions that never reached the step, and does not time any one person.
-- for each type with: steps
-- labels: step, place, low, high, one_in
-- size: interactions
-- numbers: quantile
-- bounds: estimate
WITH firsts AS (
    SELECT catalog, step, offset_bucket, one_in, count(*) AS interactions
    FROM {steps}
    WHERE first
    GROUP BY ALL
)
SELECT f.step, min(s.value) AS place, o.low, o.high, f.one_in,
    sum(f.interactions)::BIGINT AS interactions
FROM firsts f
JOIN code o ON o.type = {type} AND o.catalog = f.catalog AND o.field = 'offset'
    AND o.value = f.offset_bucket
JOIN code s ON s.type = {type} AND s.catalog = f.catalog AND s.field = 'step' AND s.text = f.step
GROUP BY ALL
-- shown
WITH
bins AS (
    SELECT step, min(min(place)) OVER (PARTITION BY step) AS place, low, high,
        sum(one_in * interactions)::BIGINT AS n
    FROM shown
    GROUP BY step, low, high
),
ranked AS (
    SELECT *,
        sum(n) OVER (PARTITION BY step ORDER BY low NULLS FIRST, high NULLS LAST) AS up_to,
        sum(n) OVER (PARTITION BY step ORDER BY high NULLS LAST) AS under,
        sum(n) OVER (PARTITION BY step) AS whole
    FROM bins
),
-- Buckets of catalogs with different edges overlap, so low and high edges are sorted separately.
found AS (
    SELECT *, (SELECT min(o.high) FROM ranked o WHERE o.step = r.step AND o.under >= rank) AS top
    FROM (SELECT *, whole * quantile / 100.0 AS rank FROM ranked, (VALUES (50), (90)) q(quantile)) r
    WHERE up_to >= rank AND up_to - n < rank
)
SELECT step, whole::BIGINT AS interactions, quantile, low,
    round(low + (top - low) * (rank - (up_to - n)) / n, 1) AS estimate, top AS high
FROM found
ORDER BY place, step, quantile
