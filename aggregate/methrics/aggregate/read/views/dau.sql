-- Installs active on each UTC day, at least: reports that say they are the first of their day, so
-- each install counts once and none needs an identifier.
-- Does not count who did not opt in; who uses two devices is two installs; the last days still grow.
-- for each type with: source=first_of_day
-- labels: day, one_in
-- size: installs
SELECT day, one_in, count(*) AS installs
FROM {table}
WHERE {first_of_day}
GROUP BY ALL
-- shown
SELECT day, sum(one_in * installs)::BIGINT AS installs
FROM shown
GROUP BY day
ORDER BY day
