-- What governs records changes by one row, however many classes came before.
--
--   record → cohort → reign → the class that governs        class → reign, for what is written now
--
-- A supersession lets another class have the reign; where that has one of its own, the lighter of
-- the two joins the heavier.

-- The classes that govern, one row each. `weight` is how many rows ever named it.
CREATE TABLE reign (
    no        INTEGER PRIMARY KEY,
    firm      INTEGER NOT NULL REFERENCES firm,
    governing BLOB NOT NULL CHECK (length(governing) = 32),
    weight    INTEGER NOT NULL,
    UNIQUE (firm, governing)
) STRICT;
INSERT INTO reign (firm, governing, weight)
    SELECT firm, governing, count(*) FROM class GROUP BY firm, governing;

-- Each class that was interned or written under: what governs what is written under it now, if
-- anything was ever to be, and the purposes that it has and nobody objected to, a bit each.
CREATE TABLE named (
    firm   INTEGER NOT NULL REFERENCES firm,
    id     BLOB NOT NULL CHECK (length(id) = 32),
    reign  INTEGER,
    admits INTEGER NOT NULL,
    PRIMARY KEY (firm, id)
) STRICT, WITHOUT ROWID;
INSERT INTO named
    SELECT c.firm, c.id, g.no, 0 FROM class c
    JOIN reign g ON g.firm = c.firm AND g.governing = c.governing
    WHERE c.no = (SELECT max(no) FROM class WHERE firm = c.firm AND id = c.id);
INSERT INTO named
    SELECT a.firm, a.class, NULL, sum(CASE a.purpose
            WHEN 'compliance' THEN 1 WHEN 'disposition' THEN 2 WHEN 'filing' THEN 4
            WHEN 'marketing' THEN 8 WHEN 'representation' THEN 16 WHEN 'retention' THEN 32
            WHEN 'security' THEN 64 END)
    FROM admits a WHERE true GROUP BY a.firm, a.class
    ON CONFLICT (firm, id) DO UPDATE SET admits = excluded.admits;
DROP TABLE admits;

-- Records that one class governs, whichever that is; without a reign when there are none, until
-- some are written again.
ALTER TABLE class RENAME TO cohort;
ALTER TABLE cohort ADD COLUMN reign INTEGER;
UPDATE cohort SET reign = (
    SELECT g.no FROM reign g WHERE g.firm = cohort.firm AND g.governing = cohort.governing)
    WHERE EXISTS (SELECT 1 FROM record r WHERE r.firm = cohort.firm AND r.class = cohort.no);
DROP INDEX class_by_id;
DROP INDEX class_by_governing;
ALTER TABLE cohort DROP COLUMN id;
ALTER TABLE cohort DROP COLUMN governing;
CREATE INDEX cohort_by_reign ON cohort (firm, reign);

ALTER TABLE named RENAME TO class;
CREATE INDEX class_by_reign ON class (firm, reign) WHERE reign IS NOT NULL;

DROP INDEX record_by_class;
ALTER TABLE record RENAME COLUMN class TO cohort;
CREATE INDEX record_by_cohort ON record (firm, cohort, record);
