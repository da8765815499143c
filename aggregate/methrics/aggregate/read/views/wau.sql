-- Installs active in each ISO week (UTC, named by its Monday), at least: reports that say they are
-- the first of their week. Calendar weeks, not a rolling seven days.
-- Does not count who did not opt in; who uses two devices is two installs; the last week still grows.
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
