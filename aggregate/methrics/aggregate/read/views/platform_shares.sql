-- Platforms, countries, languages and similar fields per calendar month (UTC), as a share of the
-- installs active in that month.
-- Does not give the share among people who did not opt in (see bias).
-- for each type with: source=first_of_month
-- for each field of: enum, flag, country, language
-- labels: month, field, value, one_in
-- size: installs
-- totals: of_installs
-- percents: percent
SELECT date_trunc('month', day)::DATE AS month, one_in, {columns}, count(*) AS installs
FROM {table}
WHERE {first_of_month}
GROUP BY ALL
-- each
SELECT
    month,
    {field} AS field,
    coalesce({column}::VARCHAR, '(not shared)') AS value,
    one_in,
    sum(installs)::BIGINT AS installs
FROM {bundle}
GROUP BY ALL
UNION ALL
SELECT month, {field}, NULL, one_in, sum(installs)::BIGINT FROM {bundle} GROUP BY ALL
-- shown
WITH weighted AS (
    SELECT month, field, value, sum(one_in * installs)::BIGINT AS installs
    FROM shown
    GROUP BY ALL
)
SELECT
    month,
    field,
    part.value,
    part.installs,
    whole.installs AS of_installs,
    percent(part.installs, whole.installs) AS percent
FROM weighted part
JOIN weighted whole USING (month, field)
WHERE part.value IS NOT NULL AND whole.value IS NULL
ORDER BY month, field, part.installs DESC, part.value
