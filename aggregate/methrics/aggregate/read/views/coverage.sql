-- Installs counted per UTC day and, where the total is known (`--known`), the share that is
-- counted. An install is counted if it opted in and its report arrived, so without known totals the
-- count is a minimum. `complete` is false for the last two days, because reports may still rest in
-- relays; later reports come from machines that were off (see arrivals).
-- Does not tell whether the missing installs resemble the counted ones (see bias).
-- for each type with: source=first_of_day
-- labels: day, one_in, newest
-- size: installs
-- numbers: known_installs
-- percents: percent
SELECT day, one_in, max(max(day)) OVER () AS newest, count(*) AS installs
FROM {table}
WHERE {first_of_day}
GROUP BY ALL
-- shown
WITH weighted AS (
    SELECT day, newest, sum(one_in * installs)::BIGINT AS installs FROM shown GROUP BY ALL
)
SELECT
    day,
    w.installs,
    k.installs AS known_installs,
    percent(w.installs, k.installs) AS percent,
    day <= w.newest - 2 AS complete
FROM weighted w
LEFT JOIN (FROM known WHERE field = '') k USING (day)
ORDER BY day
