-- Reports and events of each operating system over all days; `(not shared)` where it was held back.
-- Does not say how many users have it: frequent reporters weigh more than rare ones.
-- for each type with: name=os
SELECT
    coalesce({os}, '(not shared)') AS os,
    count(*) AS reports,
    sum(one_in)::BIGINT AS events,
    round(100.0 * sum(one_in) / sum(sum(one_in)) OVER (), 1) AS percent
FROM {table}
GROUP BY ALL
ORDER BY events DESC, os
