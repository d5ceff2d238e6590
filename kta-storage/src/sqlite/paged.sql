-- Entries stand many in a row, each told from one before it (see log_page.rs), but for the newest.
-- A row's place is that of its first entry. Up to which number a firm's entries stand so, it says
-- itself; what an earlier version wrote is carried over as the log grows.

ALTER TABLE firm ADD COLUMN paged INTEGER NOT NULL DEFAULT 0;

-- Of the ids of a matter's records, and of a class's, four bytes lead to nearly every one.
DROP INDEX record_by_matter;
CREATE INDEX record_by_matter ON record (firm, matter, substr(record, 1, 4))
    WHERE matter IS NOT NULL;
DROP INDEX record_by_cohort;
CREATE INDEX record_by_cohort ON record (firm, cohort, substr(record, 1, 4));
