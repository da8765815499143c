-- What was refused on arrival, for each UTC day, with the stable reason code.
-- Does not say who sent it, nor that anyone meant harm: late and repeated reports are refused too.
SELECT day, reason, count
FROM refusal
ORDER BY day, count DESC, reason
