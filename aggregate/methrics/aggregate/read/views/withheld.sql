-- How many reports came without each field: a person who agrees to an event type can still switch
-- off single fields.
-- Does not tell who did so, or which value the field would have had.
-- for each type with: any
-- for each field of: any
-- labels: field
-- size: reports
-- counts: withheld
-- percents: percent
SELECT catalog, count(*) AS reports, {filled}
FROM {table}
GROUP BY catalog
-- each
SELECT {field} AS field, sum(reports)::BIGINT AS reports,
    sum(reports - {column})::BIGINT AS withheld
FROM {bundle}
SEMI JOIN (FROM field WHERE type = {type} AND name = {field}) f USING (catalog)
HAVING count(*) > 0
-- shown
SELECT field, reports, withheld, percent(withheld, reports) AS percent
FROM shown
ORDER BY field
