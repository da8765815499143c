-- Items refused on arrival per UTC day, by their stable reason code.
-- Does not tell who sent them, or that anyone meant harm: late and repeated reports are refused
-- too.
-- labels: day, reason
-- size: count
SELECT day, reason, sum(count)::BIGINT AS count
FROM refusal
GROUP BY ALL
-- shown
FROM shown
ORDER BY day, count DESC, reason
