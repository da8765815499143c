-- When interactions first reached each step, in seconds after their first step: the median and the
-- time by which 90 % of those who reached it had. Of those that are shown the true value lies in
-- [low, high); `estimate` takes times to be spread evenly in between. Open where nothing bounds it.
-- Does not time those who never got there, nor any one person.
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
        sum(n) OVER (PARTITION BY step) AS whole
    FROM bins
)
SELECT step, whole::BIGINT AS interactions, quantile, low,
    round(low + (high - low) * (whole * quantile / 100.0 - (up_to - n)) / n, 1) AS estimate,
    high
FROM ranked, (VALUES (50), (90)) q(quantile)
WHERE up_to >= whole * quantile / 100.0 AND up_to - n < whole * quantile / 100.0
ORDER BY place, step, quantile
