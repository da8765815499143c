-- At least this many users were active on each UTC day: reports that say they are the first of
-- their day. Users who did not opt in, or whose schedule skipped the day, are not counted, so it is
-- a lower bound and never a total.
-- for each type with: source=first_of_day
SELECT
    day,
    sum(one_in)::BIGINT AS at_least_users
FROM {table}
WHERE {first_of_day}
GROUP BY day
ORDER BY day
