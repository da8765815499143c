-- Signed reports in this data set for each UTC day and event type.
-- Does not say how many people or machines there are: one machine may send several reports a day,
-- and those who did not opt in send none.
SELECT
    i.time::DATE AS day,
    t.schema AS namespace,
    t.name AS type,
    count(*) AS reports
FROM item i
JOIN type t ON t.n = i.type
WHERE i.kind = 1
GROUP BY ALL
ORDER BY ALL
