-- Active installs per calendar month (UTC, named by its first day), at least. It counts the reports
-- that are marked as the first of their month. Months are calendar months, not rolling 30 days.
-- Does not count people who did not opt in. A person with two devices counts as two installs. The
-- last month still grows.
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
