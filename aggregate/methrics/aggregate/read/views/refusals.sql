-- What was refused on arrival, for each UTC day, with the stable reason code.
-- Does not say who sent it, nor that anyone meant harm: late and repeated reports are refused too.
-- labels: day, reason
-- size: count
SELECT day, reason, sum(count)::BIGINT AS count
FROM refusal
GROUP BY ALL
-- shown
FROM shown
ORDER BY day, count DESC, reason
