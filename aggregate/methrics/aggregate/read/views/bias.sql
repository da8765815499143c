-- Compares the counted installs with all installs, if known totals are given for the values of a
-- field (`--known`). For each value it shows the value's share of the counted installs, its share
-- of all installs, and the share of its installs that is counted, over the days with both figures.
-- An install counts once on each of those days.
-- Does not correct any number. Without known totals the view is empty: the bias is then unknown,
-- not zero.
-- for each type with: source=first_of_day
-- for each field of: known
-- labels: field, value, one_in, known_installs, known_whole
-- size: installs
-- percents: percent, known_percent, seen_percent
WITH
parts AS (
    SELECT day, {column}::VARCHAR AS value, one_in, count(*) AS installs
    FROM {table}
    WHERE {first_of_day} AND {column} IS NOT NULL
    GROUP BY ALL
),
both_there AS (
    FROM parts SEMI JOIN (FROM known WHERE field = {field}) k USING (day)
),
truth AS (
    SELECT value, sum(installs)::BIGINT AS known_installs,
        sum(sum(installs)) OVER ()::BIGINT AS known_whole
    FROM known SEMI JOIN both_there USING (day)
    WHERE field = {field} AND field <> ''
    GROUP BY value
)
SELECT {field} AS field, value, one_in, known_installs, known_whole,
    sum(installs)::BIGINT AS installs
FROM both_there JOIN truth USING (value)
GROUP BY ALL
UNION ALL
SELECT {field}, NULL, one_in, NULL, NULL, sum(installs)::BIGINT FROM both_there GROUP BY ALL
-- shown
WITH weighted AS (
    SELECT field, value, known_installs, known_whole, sum(one_in * installs)::BIGINT AS installs
    FROM shown
    GROUP BY ALL
)
SELECT
    field,
    part.value,
    part.installs,
    part.known_installs,
    percent(part.installs, whole.installs) AS percent,
    percent(part.known_installs, part.known_whole) AS known_percent,
    percent(part.installs, part.known_installs) AS seen_percent
FROM weighted part
JOIN weighted whole USING (field)
WHERE part.value IS NOT NULL AND whole.value IS NULL
ORDER BY field, part.installs DESC, part.value
