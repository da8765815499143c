-- How many days after the day a report is about it arrived, as a share of all that arrived by then:
-- how complete the last days are. Reports are delayed on purpose, and this is how long.
-- Does not see what never arrived; one that began to collect later than others sees longer delays.
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
