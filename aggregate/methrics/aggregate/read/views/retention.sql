-- Of the installs first active in each ISO week (UTC, named by its Monday), how many were active
-- exactly `after` days later, at least. `complete` is false for the last two days, because reports
-- may still rest in relays; later reports come from machines that were off (see arrivals).
-- Does not show that the others left: they may have been active on other days, or have withdrawn
-- consent.
-- for each type with: source=milestone
-- labels: cohort, after, one_in, newest
-- size: installs
-- totals: of_installs
-- percents: percent
WITH days AS (
    SELECT day, {milestone} AS milestone, one_in, count(*) AS installs
    FROM {table}
    WHERE {milestone} IS NOT NULL
    GROUP BY ALL
)
SELECT
    date_trunc('week', day - substr(milestone, 2)::INTEGER)::DATE AS cohort,
    substr(milestone, 2)::INTEGER AS after,
    one_in,
    max(max(day)) OVER () AS newest,
    sum(installs)::BIGINT AS installs
FROM days
GROUP BY ALL
-- shown
WITH weighted AS (
    SELECT cohort, after, newest, sum(one_in * installs)::BIGINT AS installs
    FROM shown
    GROUP BY ALL
)
SELECT
    w.cohort,
    w.after,
    w.installs,
    first.installs AS of_installs,
    percent(w.installs, first.installs) AS percent,
    w.cohort + 6 + w.after <= w.newest - 2 AS complete
FROM weighted w
LEFT JOIN weighted first ON first.cohort = w.cohort AND first.after = 0
ORDER BY w.cohort, w.after
