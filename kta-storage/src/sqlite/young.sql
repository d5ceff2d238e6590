-- A firm's newest postings stand in the order of the log, page behind page, instead of each in a
-- row of its own among those of the person: what is entered touches the last page only.
--
-- `place` is firm.no * 2^40 + the number of the page; a page holds 125 postings in the plain form
-- of posting.rs, the last one fewer.

CREATE TABLE trail_young (
    place INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;
INSERT INTO trail_young
    SELECT page, unhex(group_concat(hex(subject) || printf('%016x%016x', seq, at), ''))
    FROM (SELECT (firm << 40) + (row_number() OVER (PARTITION BY firm) - 1) / 125 AS page,
                 subject, seq, at FROM trail)
    GROUP BY page;
DROP TABLE trail;
