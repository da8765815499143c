-- How the installs counted here differ from all there are, where the totals of a field's values are
-- known (`--known`): the share of each value here and in truth, over the days of which both are known,
-- and the share of its installs that is seen here.
-- Does not correct any number; without known totals it is empty, and bias is unknown, not absent.
-- for each type with: source=first_of_day
-- for each field of: known
-- labels: field, value, one_in
-- size: installs
-- numbers: known_installs
-- percents: percent, known_percent, seen_percent
WITH parts AS (
    SELECT day, {column}::VARCHAR AS value, one_in, count(*) AS installs
    FROM {table}
    WHERE {first_of_day} AND {column} IS NOT NULL
    GROUP BY ALL
)
SELECT {field} AS field, value, one_in, sum(installs)::BIGINT AS installs
FROM parts
SEMI JOIN (FROM known WHERE field = {field} AND field <> '') k USING (day)
GROUP BY ALL
-- shown
WITH
here AS (SELECT field, value, sum(one_in * installs)::BIGINT AS installs FROM shown GROUP BY ALL),
truth AS (
    SELECT field, value, sum(installs)::BIGINT AS known_installs
    FROM known
    WHERE field <> ''
    GROUP BY ALL
)
SELECT
    field,
    value,
    installs,
    known_installs,
    percent(installs, sum(installs) OVER (PARTITION BY field)) AS percent,
    percent(known_installs, sum(known_installs) OVER (PARTITION BY field)) AS known_percent,
    percent(installs, known_installs) AS seen_percent
FROM here
JOIN truth USING (field, value)
ORDER BY field, installs DESC, value
