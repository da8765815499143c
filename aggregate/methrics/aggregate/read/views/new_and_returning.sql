-- Active installs per ISO week (UTC, named by its Monday), at least, split by whether they were
-- installed in that week; `percent` is the share of new ones.
-- Does not recognise a person who installs again or on another device: such an install counts as
-- new.
-- for each type with: source=first_of_week, source=install_age
-- labels: week, age, one_in
-- size: installs
-- totals: new_installs, returning_installs, not_shared
-- percents: percent
SELECT
    date_trunc('week', day)::DATE AS week,
    CASE
        WHEN {install_age} = 0 THEN 'new'
        WHEN {install_age} > 0 THEN 'returning'
        ELSE 'not shared'
    END AS age,
    one_in,
    count(*) AS installs
FROM {table}
WHERE {first_of_week}
GROUP BY ALL
-- shown
SELECT
    week,
    sum(one_in * installs) FILTER (age = 'new')::BIGINT AS new_installs,
    sum(one_in * installs) FILTER (age = 'returning')::BIGINT AS returning_installs,
    sum(one_in * installs) FILTER (age = 'not shared')::BIGINT AS not_shared,
    percent(new_installs, new_installs + returning_installs) AS percent
FROM shown
GROUP BY week
ORDER BY week
