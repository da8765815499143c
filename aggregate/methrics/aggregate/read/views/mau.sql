-- Installs active in each calendar month (UTC, named by its first day), at least: reports that say
-- they are the first of their month. Calendar months, not a rolling thirty days.
-- Does not count who did not opt in; who uses two devices is two installs; the last month still grows.
-- for each type with: source=first_of_month
-- labels: month, one_in
-- size: installs
SELECT date_trunc('month', day)::DATE AS month, one_in, count(*) AS installs
FROM {table}
WHERE {first_of_month}
GROUP BY ALL
-- shown
SELECT month, sum(one_in * installs)::BIGINT AS installs
FROM shown
GROUP BY month
ORDER BY month
