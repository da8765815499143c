-- Installs counted on each UTC day and, where the total is known (`--known`), the share of them that
-- is seen here: who opted in and whose report arrived. Without known totals read "at least".
-- `complete` is false in the two days for which relays may hold reports; later ones still come from
-- machines that were off: see arrivals.
-- Does not say whether those who are missing are like those who are here: see bias.
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
