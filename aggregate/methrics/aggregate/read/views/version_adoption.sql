-- Versions per ISO week (UTC, named by its Monday), as a share of the installs active in that week.
-- Does not tell how much each version is used, or who cannot update. Counts only people who opted
-- in.
-- for each type with: source=first_of_week
-- for each field of: version
-- labels: week, field, value, one_in
-- size: installs
-- totals: of_installs
-- percents: percent
SELECT date_trunc('week', day)::DATE AS week, one_in, {columns}, count(*) AS installs
FROM {table}
WHERE {first_of_week}
GROUP BY ALL
-- each
SELECT
    week,
    {field} AS field,
    coalesce({column}::VARCHAR, '(not shared)') AS value,
    one_in,
    sum(installs)::BIGINT AS installs
FROM {bundle}
GROUP BY ALL
UNION ALL
SELECT week, {field}, NULL, one_in, sum(installs)::BIGINT FROM {bundle} GROUP BY ALL
-- shown
WITH weighted AS (
    SELECT week, field, value, sum(one_in * installs)::BIGINT AS installs
    FROM shown
    GROUP BY ALL
)
SELECT
    week,
    field,
    part.value,
    part.installs,
    whole.installs AS of_installs,
    percent(part.installs, whole.installs) AS percent
FROM weighted part
JOIN weighted whole USING (week, field)
WHERE part.value IS NOT NULL AND whole.value IS NULL
ORDER BY week, field, part.installs DESC, part.value
