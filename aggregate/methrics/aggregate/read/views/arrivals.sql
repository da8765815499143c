-- How many days late reports arrive, counted from the day that each report describes, as a running
-- share of all reports that have arrived. Use it to see how complete the last days are: apps and
-- relays delay reports on purpose.
-- Does not see reports that never arrive. An aggregator that started later than others sees longer
-- delays.
-- for each type with: any
-- labels: days_later
-- size: reports
-- totals: by_then
-- percents: percent
SELECT
    greatest(0, (epoch_us(received) // 86400000000) - (epoch_us(time) // 86400000000)) AS days_later,
    count(*) AS reports
FROM item
WHERE type = {type} AND kind = 1
GROUP BY ALL
-- shown
SELECT
    days_later,
    reports,
    sum(reports) OVER (ORDER BY days_later)::BIGINT AS by_then,
    percent(by_then, sum(reports) OVER ()) AS percent
FROM shown
ORDER BY days_later
