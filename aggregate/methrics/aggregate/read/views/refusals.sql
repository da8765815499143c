-- Items refused on arrival per UTC day, by their stable reason code.
-- Does not tell who sent them. A refused item is not always an attack: late and repeated reports
-- are refused too.
-- labels: day, reason
-- size: count
SELECT day, reason, sum(count)::BIGINT AS count
FROM refusal
GROUP BY ALL
-- shown
FROM shown
ORDER BY day, count DESC, reason
