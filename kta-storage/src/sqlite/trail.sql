-- The trail grows in order instead of at random. `trail` holds a firm's newest postings only; the
-- others stand in runs, each sorted by person and written once (see trail.rs).

ALTER TABLE firm ADD COLUMN young INTEGER NOT NULL DEFAULT 0;
UPDATE firm SET young = (SELECT count(*) FROM trail WHERE trail.firm = firm.no);

-- A run: how many postings it has, the first number and time among them, and the last time.
CREATE TABLE trail_run (
    no       INTEGER PRIMARY KEY,
    firm     INTEGER NOT NULL REFERENCES firm,
    tier     INTEGER NOT NULL,
    postings INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX trail_run_by_tier ON trail_run (firm, tier);

-- A page of a run, in the form of posting.rs, under its first posting.
CREATE TABLE trail_page (
    no      INTEGER PRIMARY KEY,
    firm    INTEGER NOT NULL REFERENCES firm,
    run     INTEGER NOT NULL,
    subject BLOB NOT NULL CHECK (length(subject) = 16),
    seq     INTEGER NOT NULL,
    bytes   BLOB NOT NULL,
    UNIQUE (firm, run, subject, seq)
) STRICT;
