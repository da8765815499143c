-- Of the interactions reported, how many reached each step at least once, weighted by the sampling
-- rate; steps in the order in which they are reached on average.
-- Does not say why people stopped, and a person may stand behind several interactions.
-- for each type with: steps
WITH total AS (SELECT sum(one_in)::BIGINT AS interactions FROM {table}),
reached AS (
    SELECT s.step, s.n, min(s.i) AS place
    FROM {steps} s
    GROUP BY s.step, s.n
)
SELECT
    r.step,
    sum(x.one_in)::BIGINT AS interactions,
    round(100.0 * sum(x.one_in) / (SELECT interactions FROM total), 1) AS percent
FROM reached r
JOIN {table} x ON x.n = r.n
GROUP BY r.step
ORDER BY avg(r.place), r.step
