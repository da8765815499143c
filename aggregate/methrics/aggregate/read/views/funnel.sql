-- How many of the reported interactions reached each step at least once, weighted by the sampling
-- rate: all interactions where `field` is empty, and those with each value of each field that has
-- few values.
-- Does not explain why people stopped. One person may have several interactions.
-- for each type with: steps
-- for each field of: enum, flag, language, <= 16, whole
-- labels: field, value, step, place, one_in
-- size: interactions
-- totals: of_interactions
-- percents: percent
SELECT catalog, reached, one_in, {columns}, count(*) AS interactions
FROM {table}
GROUP BY ALL
-- each
WITH paths AS (
    SELECT catalog, coalesce({column}::VARCHAR, '(not shared)') AS value, reached, one_in,
        sum(interactions) AS interactions
    FROM {bundle}
    GROUP BY ALL
)
SELECT {field} AS field, p.value, c.text AS step, min(c.value) AS place, p.one_in,
    sum(p.interactions)::BIGINT AS interactions
FROM paths p
JOIN code c ON c.type = {type} AND c.catalog = p.catalog AND c.field = 'step'
WHERE ((p.reached >> c.value) & 1) = 1
GROUP BY ALL
UNION ALL
SELECT {field}, value, NULL, NULL, one_in, sum(interactions)::BIGINT FROM paths GROUP BY ALL
-- shown
WITH weighted AS (
    SELECT field, value, step, min(place) AS place, sum(one_in * interactions)::BIGINT AS n
    FROM shown
    GROUP BY ALL
)
SELECT
    field,
    part.value,
    part.step,
    part.n AS interactions,
    whole.n AS of_interactions,
    percent(part.n, whole.n) AS percent
FROM weighted part
JOIN weighted whole USING (field, value)
WHERE part.step IS NOT NULL AND whole.step IS NULL
ORDER BY field, part.value, part.place, part.step
