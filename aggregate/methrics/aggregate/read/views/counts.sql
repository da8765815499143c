-- What was counted in each calendar month (UTC), at least: in total where `field` is empty and for
-- each value of each field, weighted by the sampling rate; and the reports behind it. Under a floor a
-- report's count from 8 on is taken for the power of two below it, so that equal ones are many.
-- Does not say how many installs or people: one install sends a report for each window of counting.
-- for each type with: kind=count
-- for each field of: enum, flag, country, language, version, whole
-- labels: month, field, value, one_in, each
-- size: reports
-- totals: counted
SELECT
    date_trunc('month', day)::DATE AS month,
    one_in,
    CASE
        WHEN count < 8 OR shown_step() = 1 THEN count
        ELSE 1 << floor(log2(count))::INTEGER
    END AS each,
    {columns},
    count(*) AS reports
FROM {table}
GROUP BY ALL
-- each
SELECT
    month,
    {field} AS field,
    coalesce({column}::VARCHAR, '(not shared)') AS value,
    one_in,
    each,
    sum(reports)::BIGINT AS reports
FROM {bundle}
GROUP BY ALL
-- shown
SELECT
    month,
    field,
    value,
    sum(reports)::BIGINT AS reports,
    sum(one_in * each * reports)::BIGINT AS counted
FROM shown
GROUP BY ALL
ORDER BY month, field, counted DESC, value
