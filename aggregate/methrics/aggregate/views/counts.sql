-- What was counted in each calendar month (UTC), in total where `field` is empty and for each value of
-- each field, weighted by the sampling rate; and the reports behind it.
-- Does not say how many installs or people: one install sends a report for each window of counting.
-- for each type with: kind=count
-- for each field of: enum, flag, country, language, version, whole
-- labels: month, field, value, one_in
-- size: reports
-- sums: counted
SELECT date_trunc('month', day)::DATE AS month, {field} AS field,
    coalesce({column}::VARCHAR, '(not shared)') AS value, one_in,
    count(*) AS reports, sum(count)::BIGINT AS counted
FROM {table}
GROUP BY ALL
-- shown
SELECT month, field, value, sum(reports)::BIGINT AS reports,
    sum(one_in * counted)::BIGINT AS counted
FROM shown
GROUP BY ALL
ORDER BY month, field, counted DESC, value
