-- Version 1. Every row and index begins with the firm; `firm.no` stands for the tenant's sixteen
-- bytes and saves them in each row. What concerns a person has the person next.
--
-- Times are milliseconds (log) or microseconds (jobs) since 1970 in UTC.

CREATE TABLE migration (
    version INTEGER PRIMARY KEY,
    made_by TEXT NOT NULL
) STRICT;

-- One row that is rewritten to carry bounded commits to the disk.
CREATE TABLE tick (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    count INTEGER NOT NULL
) STRICT;
INSERT INTO tick (one, count) VALUES (1, 0);

-- A firm and how far its log has come.
CREATE TABLE firm (
    no      INTEGER PRIMARY KEY,
    tenant  BLOB NOT NULL UNIQUE CHECK (length(tenant) = 16),
    size    INTEGER NOT NULL,
    last_at INTEGER
) STRICT;

-- The log. `place` is firm.no * 2^40 + sequence number: one tree, appended at its end.
CREATE TABLE entry (
    place INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

-- Which entries name a person.
CREATE TABLE trail (
    firm    INTEGER NOT NULL REFERENCES firm,
    subject BLOB NOT NULL CHECK (length(subject) = 16),
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (firm, subject, seq)
) STRICT, WITHOUT ROWID;

-- Sealed records; `fields` and `tags` are in the compact form of row.rs.
CREATE TABLE record (
    no       INTEGER PRIMARY KEY,
    firm     INTEGER NOT NULL REFERENCES firm,
    subject  BLOB NOT NULL CHECK (length(subject) = 16),
    record   BLOB NOT NULL CHECK (length(record) = 16),
    matter   BLOB CHECK (length(matter) = 16),
    revision INTEGER NOT NULL,
    schema   TEXT NOT NULL,
    class    BLOB NOT NULL CHECK (length(class) = 32),
    header   BLOB NOT NULL,
    fields   BLOB NOT NULL,
    tags     BLOB NOT NULL,
    UNIQUE (firm, subject, record)
) STRICT;
CREATE INDEX record_by_matter ON record (firm, matter, record) WHERE matter IS NOT NULL;

-- The blind index. A record names its own tags, so they go with it without a second index here.
CREATE TABLE tag (
    firm   INTEGER NOT NULL REFERENCES firm,
    field  TEXT NOT NULL,
    tag    BLOB NOT NULL,
    record INTEGER NOT NULL,
    PRIMARY KEY (firm, field, tag, record)
) STRICT, WITHOUT ROWID;

CREATE TABLE placement (
    no      INTEGER PRIMARY KEY,
    firm    INTEGER NOT NULL REFERENCES firm,
    subject BLOB NOT NULL CHECK (length(subject) = 16),
    id      BLOB NOT NULL CHECK (length(id) = 16),
    matter  BLOB CHECK (length(matter) = 16),
    system  TEXT NOT NULL,
    body    BLOB NOT NULL,
    UNIQUE (firm, subject, id),
    UNIQUE (firm, id)
) STRICT;
CREATE INDEX placement_by_matter ON placement (firm, matter, id) WHERE matter IS NOT NULL;

CREATE TABLE hold (
    firm   INTEGER NOT NULL REFERENCES firm,
    id     BLOB NOT NULL CHECK (length(id) = 16),
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    body   BLOB NOT NULL,
    PRIMARY KEY (firm, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE sheet (
    no       INTEGER PRIMARY KEY,
    firm     INTEGER NOT NULL REFERENCES firm,
    register TEXT NOT NULL,
    id       TEXT NOT NULL,
    subject  BLOB CHECK (length(subject) = 16),
    matter   BLOB CHECK (length(matter) = 16),
    revision INTEGER NOT NULL,
    body     BLOB NOT NULL,
    UNIQUE (firm, register, id)
) STRICT;
CREATE INDEX sheet_by_subject ON sheet (firm, subject, register, id) WHERE subject IS NOT NULL;
CREATE INDEX sheet_by_matter ON sheet (firm, matter, register, id) WHERE matter IS NOT NULL;

-- The outbox. `ready` is from when on the job may be leased; never again when it is null.
CREATE TABLE job (
    no           INTEGER PRIMARY KEY,
    firm         INTEGER NOT NULL REFERENCES firm,
    id           BLOB NOT NULL CHECK (length(id) = 16),
    kind         TEXT NOT NULL,
    subject      BLOB CHECK (length(subject) = 16),
    matter       BLOB CHECK (length(matter) = 16),
    due          INTEGER NOT NULL,
    ready        INTEGER,
    attempts     INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('dead', 'done', 'leased', 'waiting')),
    lease        INTEGER NOT NULL,
    leased_until INTEGER,
    reason       TEXT,
    payload      BLOB NOT NULL,
    UNIQUE (firm, id)
) STRICT;
CREATE INDEX job_ready ON job (firm, ready, due, id) WHERE ready IS NOT NULL;

-- By what a probe would recognise sealed bytes that were erased: parts of them with every bit
-- turned over, so that this table is not itself what the probe finds.
CREATE TABLE mark (
    firm      INTEGER NOT NULL REFERENCES firm,
    placement BLOB NOT NULL CHECK (length(placement) = 16),
    record    INTEGER NOT NULL,
    marks     BLOB NOT NULL,
    PRIMARY KEY (firm, placement)
) STRICT, WITHOUT ROWID;
