-- Values of each field per calendar month (UTC), as a share of the reports, for event types that do
-- not count installs.
-- Does not give a number of installs or people: installs that report often weigh more.
-- for each type with: no source=first_of_month
-- for each field of: enum, flag, country, language, version
-- labels: month, field, value, one_in
-- size: reports
-- totals: of_reports
-- percents: percent
SELECT day - (day(day) - 1)::INTEGER AS month, one_in, {columns}, count(*) AS reports
FROM {table}
GROUP BY ALL
-- each
SELECT
    month,
    {field} AS field,
    coalesce({column}::VARCHAR, '(not shared)') AS value,
    one_in,
    sum(reports)::BIGINT AS reports
FROM {bundle}
GROUP BY ALL
UNION ALL
SELECT month, {field}, NULL, one_in, sum(reports)::BIGINT FROM {bundle} GROUP BY ALL
-- shown
WITH weighted AS (
    SELECT month, field, value, sum(one_in * reports)::BIGINT AS reports
    FROM shown
    GROUP BY ALL
)
SELECT
    month,
    field,
    part.value,
    part.reports,
    whole.reports AS of_reports,
    percent(part.reports, whole.reports) AS percent
FROM weighted part
JOIN weighted whole USING (month, field)
WHERE part.value IS NOT NULL AND whole.value IS NULL
ORDER BY month, field, part.reports DESC, part.value
