-- Signed reports in this data set per UTC day and event type.
-- Does not give a number of people or machines: one machine may send several reports a day, and
-- those that did not opt in send none.
-- labels: day, schema, type
-- size: reports
WITH days AS (
    SELECT epoch_us(time) // 86400000000 AS day, type, count(*) AS reports
    FROM item
    WHERE kind = 1
    GROUP BY ALL
)
SELECT DATE '1970-01-01' + d.day::INTEGER AS day, t.schema, t.name AS type, d.reports
FROM days d
JOIN type t ON t.n = d.type
-- shown
FROM shown
ORDER BY day, schema, type
