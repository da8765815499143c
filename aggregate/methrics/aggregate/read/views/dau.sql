-- Active installs per UTC day, at least. It counts the reports that are marked as the first of
-- their day, so each install counts once without any identifier.
-- Does not count people who did not opt in. A person with two devices counts as two installs. The
-- last days still grow.
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
