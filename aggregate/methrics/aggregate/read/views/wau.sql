-- Active installs per ISO week (UTC, named by its Monday), at least. It counts the reports that are
-- marked as the first of their week. Weeks are calendar weeks, not rolling 7 days.
-- Does not count people who did not opt in. A person with two devices counts as two installs. The
-- last week still grows.
-- for each type with: source=first_of_week
-- labels: week, one_in
-- size: installs
SELECT date_trunc('week', day)::DATE AS week, one_in, count(*) AS installs
FROM {table}
WHERE {first_of_week}
GROUP BY ALL
-- shown
SELECT week, sum(one_in * installs)::BIGINT AS installs
FROM shown
GROUP BY week
ORDER BY week
