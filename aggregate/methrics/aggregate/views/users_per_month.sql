-- At least this many users were active in each UTC month: reports that say they are the first of
-- their month. A lower bound and never a total, as for users_per_day.
-- for each type with: source=first_of_month
SELECT
    date_trunc('month', day)::DATE AS month,
    sum(one_in)::BIGINT AS at_least_users
FROM {table}
WHERE {first_of_month}
GROUP BY month
ORDER BY month
