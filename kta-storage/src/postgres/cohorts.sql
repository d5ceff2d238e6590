-- What governs records changes by one row, however many classes came before, and a commit reads
-- only the classes that it names.
--
--   record → cohort → reign → the class that governs        class → reign, for what is written now
--
-- A supersession lets another class have the reign; where that has one of its own, the lighter of
-- the two joins the heavier.

-- The owner, whom the walls bind too, sees all tenants' rows for this once.
ALTER TABLE kta.class NO FORCE ROW LEVEL SECURITY;
ALTER TABLE kta.admits NO FORCE ROW LEVEL SECURITY;
ALTER TABLE kta.record NO FORCE ROW LEVEL SECURITY;

-- The classes that govern, one row each. `weight` is how many rows ever named it.
CREATE TABLE kta.reign (
    tenant    uuid NOT NULL,
    no        int8 NOT NULL,
    governing bytea NOT NULL CHECK (length(governing) = 32),
    weight    int8 NOT NULL,
    PRIMARY KEY (tenant, no)
);
CREATE INDEX reign_by_governing ON kta.reign (tenant, governing);
INSERT INTO kta.reign
    SELECT tenant, row_number() OVER (PARTITION BY tenant ORDER BY governing), governing, count(*)
    FROM kta.class GROUP BY tenant, governing;

-- Records that one class governs, whichever that is.
CREATE TABLE kta.cohort (
    tenant uuid NOT NULL,
    no     int8 NOT NULL,
    reign  int8 NOT NULL,
    PRIMARY KEY (tenant, no)
);
CREATE INDEX cohort_by_reign ON kta.cohort (tenant, reign);
INSERT INTO kta.cohort
    SELECT c.tenant, c.no, g.no FROM kta.class c
    JOIN kta.reign g ON g.tenant = c.tenant AND g.governing = c.governing
    WHERE EXISTS (SELECT FROM kta.record r WHERE r.tenant = c.tenant AND r.class = c.no);

-- Each class that was interned or written under: what governs what is written under it now, if
-- anything was ever to be, and the purposes that it has and nobody objected to, a bit each.
CREATE TABLE kta.named (
    tenant uuid NOT NULL,
    id     bytea NOT NULL CHECK (length(id) = 32),
    reign  int8,
    admits int8 NOT NULL,
    PRIMARY KEY (tenant, id)
);
INSERT INTO kta.named
    SELECT DISTINCT ON (c.tenant, c.id) c.tenant, c.id, g.no, 0 FROM kta.class c
    JOIN kta.reign g ON g.tenant = c.tenant AND g.governing = c.governing
    ORDER BY c.tenant, c.id, c.no DESC;
INSERT INTO kta.named
    SELECT a.tenant, a.class, NULL, sum(CASE a.purpose
            WHEN 'compliance' THEN 1 WHEN 'disposition' THEN 2 WHEN 'filing' THEN 4
            WHEN 'marketing' THEN 8 WHEN 'representation' THEN 16 WHEN 'retention' THEN 32
            WHEN 'security' THEN 64 END)
    FROM kta.admits a GROUP BY a.tenant, a.class
    ON CONFLICT (tenant, id) DO UPDATE SET admits = excluded.admits;
DROP TABLE kta.admits;
DROP TABLE kta.class;
ALTER TABLE kta.named RENAME TO class;
ALTER INDEX kta.named_pkey RENAME TO class_pkey;
CREATE INDEX class_by_reign ON kta.class (tenant, reign) WHERE reign IS NOT NULL;

ALTER TABLE kta.record RENAME COLUMN class TO cohort;
ALTER INDEX kta.record_by_class RENAME TO record_by_cohort;
