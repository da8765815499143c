-- Minimum totals of counted actions per calendar month (UTC), weighted by the sampling rate: the
-- total of all reports where `field` is empty, and a total for each value of each field. `reports`
-- is the number of reports in the total. Under a floor, a report's count of 8 or more is rounded
-- down to a power of two, so that many reports share it.
-- Does not give a number of installs or people: an install sends one report per counting window.
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
