-- Events per UTC day, estimated: each report stands for `one_in` events. The 95 % interval
-- (Horvitz-Thompson estimator) covers the sampling, widened by what the floor rounds off the groups
-- shown.
-- Does not count events of people who did not agree, or lost reports. The last days still grow.
-- for each type with: kind=event|sequence
-- labels: day, one_in
-- size: reports
-- totals: events
-- bounds: low, high
SELECT day, one_in, count(*) AS reports
FROM {table}
GROUP BY ALL
-- shown
WITH weighted AS (
    SELECT
        day,
        sum(reports)::BIGINT AS reports,
        sum(one_in * reports)::BIGINT AS events,
        sum(one_in * (shown_step() - 1))::BIGINT AS floored,
        sum(one_in * (one_in - 1) * reports) AS variance,
        sum(one_in * (one_in - 1) * (reports + shown_step() - 1)) AS variance_high
    FROM shown
    GROUP BY day
)
SELECT
    day,
    reports,
    events,
    greatest(reports, floor(events - 1.959964 * sqrt(variance)))::BIGINT AS low,
    ceil(events + floored + 1.959964 * sqrt(variance_high))::BIGINT AS high
FROM weighted
ORDER BY day
