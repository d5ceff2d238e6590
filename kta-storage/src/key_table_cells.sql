-- Version 4. Wrapped keys move to cells, which never move again (cell.rs): two lengths of two
-- bytes each with what they are the length of, padded with zeros to half a cell.

CREATE TABLE cell (
    no    INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL CHECK (length(bytes) > 0 AND length(bytes) % 256 = 0)
) STRICT;

CREATE TABLE person (
    firm        INTEGER NOT NULL REFERENCES head,
    subject     BLOB NOT NULL CHECK (length(subject) = 16),
    slot        INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    former      BLOB,
    cell        INTEGER NOT NULL REFERENCES cell,
    PRIMARY KEY (firm, subject),
    UNIQUE (firm, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE branch (
    firm    INTEGER NOT NULL REFERENCES head,
    level   INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    version INTEGER NOT NULL,
    cell    INTEGER NOT NULL REFERENCES cell,
    PRIMARY KEY (firm, level, place)
) STRICT, WITHOUT ROWID;

-- People's cells in the order of their slots, then those of the branches.
INSERT INTO cell (no, bytes)
    SELECT row_number() OVER (ORDER BY firm, slot), CAST(
        unhex(printf('%04X', length(wrapped)))
        || substr(CAST(wrapped || zeroblob(126) AS BLOB), 1, 126)
        || unhex(printf('%04X', coalesce(length(former_wrapped), 0)))
        || substr(CAST(coalesce(former_wrapped, x'') || zeroblob(126) AS BLOB), 1, 126) AS BLOB)
    FROM subject;
INSERT INTO cell (no, bytes)
    SELECT (SELECT count(*) FROM subject) + row_number() OVER (ORDER BY firm, level, place), CAST(
        unhex(printf('%04X', length(wrapped)))
        || substr(CAST(wrapped || zeroblob(254) AS BLOB), 1, 254) AS BLOB)
    FROM node;
INSERT INTO person (firm, subject, slot, generation, fingerprint, former, cell)
    SELECT firm, subject, slot, generation, fingerprint, former,
        row_number() OVER (ORDER BY firm, slot) FROM subject;
INSERT INTO branch (firm, level, place, version, cell)
    SELECT firm, level, place, version, (SELECT count(*) FROM subject)
        + row_number() OVER (ORDER BY firm, level, place) FROM node;

DROP TABLE subject;
DROP TABLE node;
-- Nothing to look for, but the write-ahead log has to go.
INSERT INTO scrub (marks) SELECT x'' WHERE EXISTS (SELECT 1 FROM person);
