-- Average share of a month's active installs that are active on one day: the mean of the daily
-- installs over the `days` of the month that the data cover, in percent of the month's installs.
-- Does not tell how often any one install is active. The figure is too high for a month that has
-- just begun.
-- for each type with: source=first_of_day, source=first_of_month
-- labels: period, day, one_in
-- size: installs
-- totals: month_installs
-- numbers: days, mean_day
-- percents: percent
SELECT 'day' AS period, day, one_in, count(*) AS installs
FROM {table}
WHERE {first_of_day}
GROUP BY ALL
UNION ALL
SELECT 'month', date_trunc('month', day)::DATE AS day, one_in, count(*)
FROM {table}
WHERE {first_of_month}
GROUP BY ALL
-- shown
WITH
daily AS (
    SELECT
        date_trunc('month', day)::DATE AS month,
        sum(one_in * installs)::BIGINT AS installs,
        (SELECT min(day) FROM shown WHERE period = 'day') AS first,
        (SELECT max(day) FROM shown WHERE period = 'day') AS last
    FROM shown
    WHERE period = 'day'
    GROUP BY ALL
),
monthly AS (
    SELECT day AS month, sum(one_in * installs)::BIGINT AS month_installs
    FROM shown
    WHERE period = 'month'
    GROUP BY day
),
spanned AS (
    SELECT *, 1 + least(last_day(month), last) - greatest(month, first) AS days
    FROM daily
    JOIN monthly USING (month)
)
SELECT
    month,
    days,
    round(installs / days, 1) AS mean_day,
    month_installs,
    100.0 * installs / days / month_installs AS percent
FROM spanned
ORDER BY month
