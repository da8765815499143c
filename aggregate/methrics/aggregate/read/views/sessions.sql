-- Reported interactions per UTC day on which they began, weighted by the sampling rate.
-- Does not give a number of people, or how long the app was used. The last days still grow.
-- for each type with: steps
-- labels: day, one_in
-- size: sessions
SELECT day, one_in, count(*) AS sessions
FROM {table}
GROUP BY ALL
-- shown
SELECT day, sum(one_in * sessions)::BIGINT AS sessions
FROM shown
GROUP BY day
ORDER BY day
