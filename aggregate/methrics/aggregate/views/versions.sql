-- Reports and events of each version on each UTC day; `(not shared)` where the field was held back.
-- Does not say how many users run a version: frequent reporters weigh more than rare ones.
-- for each type with: name=version
SELECT
    day,
    coalesce({version}, '(not shared)') AS version,
    count(*) AS reports,
    sum(one_in)::BIGINT AS events
FROM {table}
GROUP BY ALL
ORDER BY ALL
