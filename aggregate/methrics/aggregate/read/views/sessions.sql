-- Interactions reported for each UTC day on which they began, weighted by the sampling rate.
-- Does not say how many people there are, nor how long the app was used; the last days still grow.
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
