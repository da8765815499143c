-- Estimated number of installs with each value of a field under randomized response, per month (or
-- per ISO week, if only weeks are marked), each install once. `reports` is how many answered. The
-- 95 % interval covers the randomness, sampling and the floor; estimates are limited to 0 and the
-- number who answered.
-- Does not promise that estimates add up to `reports`: each is made on its own. Does not describe
-- those who did not answer (see bias).
-- for each type with: source=first_of_month|first_of_week
-- for each field of: randomized
-- labels: period, field, catalog, one_in, epsilon, domain, answer
-- size: reports
-- bounds: estimate, low, high
WITH answers AS (
    SELECT date_trunc({period}, day)::DATE AS period, catalog, one_in, {column}::VARCHAR AS answer
    FROM {table}
    WHERE {first} AND {column} IS NOT NULL
),
cells AS (
    SELECT period, catalog, one_in, answer, count(*) AS reports
    FROM answers
    GROUP BY GROUPING SETS ((period, catalog, one_in), (period, catalog, one_in, answer))
)
SELECT c.period, {field} AS field, c.catalog, c.one_in, f.epsilon, f.domain, c.answer, c.reports
FROM cells c
JOIN field f ON f.type = {type} AND f.catalog = c.catalog AND f.name = {field}
-- shown
WITH
-- p is the probability of the true answer, q that of each other value. If the catalog does not
-- randomize the field, they are 1 and 0. d = p - q. `spread` is the variance that an install
-- without the value adds to an estimate; an install with the value adds `slope` more.
whole AS (
    SELECT *, p - q AS d, q * (1 - q) / (p - q) ** 2 AS spread, (1 - p - q) / (p - q) AS slope
    FROM (
        SELECT *,
            coalesce(exp(epsilon / 1000.0) / (exp(epsilon / 1000.0) + domain - 1), 1) AS p,
            coalesce(1 / (exp(epsilon / 1000.0) + domain - 1), 0) AS q
        FROM shown
        WHERE answer IS NULL
    )
),
-- c of n reports have the value. Because of the floor, c and n may each be up to `less` too low.
cells AS (
    SELECT w.*, code.value AS place, code.label AS value, w.reports AS n,
        coalesce(s.reports, 0) AS c, shown_step() - 1 AS less
    FROM whole w
    JOIN code ON code.type = {type} AND code.catalog = w.catalog AND code.field = w.field
    LEFT JOIN shown s ON s.period = w.period AND s.field = w.field AND s.catalog = w.catalog
        AND s.one_in = w.one_in AND s.answer = code.text
),
sums AS (
    SELECT period, field, value,
        min(place) AS place,
        sum(n)::BIGINT AS reports,
        -- With sampling, the exact number of installs that answered is unknown: no upper bound.
        CASE WHEN max(one_in) = 1 THEN sum(n + less) ELSE 'infinity'::DOUBLE END AS most,
        sum(one_in * (c + less / 2 - (n + less / 2) * q) / d) AS estimate,
        sum(one_in * (c - (n + less) * q) / d) AS at_least,
        sum(one_in * (c + less - n * q) / d) AS at_most,
        sum(one_in * ((n + less) * spread + slope * (c + less / 2 - (n + less / 2) * q) / d)
            + one_in * (one_in - 1) * (c * (1 - q) ** 2 + (n + less - c) * q ** 2) / d ** 2
        ) AS variance,
        sum(n * one_in * (slope + (one_in - 1) * (1 + slope))) / sum(n * one_in) AS slope
    FROM cells
    GROUP BY period, field, value
),
-- The ends of the interval are the errors e with e^2 = z^2 * (variance + slope * e). So the
-- interval contains every number of installs for which the observed number of answers is likely,
-- which is valid also for rare values.
errors AS (
    SELECT *, 1.959964 ** 2 * slope / 2 AS middle,
        sqrt((1.959964 ** 2 * slope / 2) ** 2 + 1.959964 ** 2 * greatest(variance, 0)) AS width
    FROM sums
)
SELECT
    period,
    field,
    value,
    reports,
    round(least(greatest(estimate, 0), most))::BIGINT AS estimate,
    floor(least(greatest(at_least + middle - width, 0), most))::BIGINT AS low,
    ceil(least(greatest(at_most + middle + width, 0), most))::BIGINT AS high
FROM errors
ORDER BY period, field, place
