-- Version 1. The table of wrapped keys; nothing of the records stands in this file.

CREATE TABLE migration (
    version INTEGER PRIMARY KEY,
    made_by TEXT NOT NULL
) STRICT;

CREATE TABLE head (
    no       INTEGER PRIMARY KEY,
    tenant   BLOB NOT NULL UNIQUE CHECK (length(tenant) = 16),
    revision INTEGER NOT NULL,
    body     BLOB NOT NULL
) STRICT;

CREATE TABLE node (
    firm    INTEGER NOT NULL REFERENCES head,
    level   INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    version INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    PRIMARY KEY (firm, level, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE subject (
    firm       INTEGER NOT NULL REFERENCES head,
    subject    BLOB NOT NULL CHECK (length(subject) = 16),
    slot       INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    wrapped    BLOB NOT NULL,
    PRIMARY KEY (firm, subject),
    UNIQUE (firm, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE tombstone (
    firm    INTEGER NOT NULL REFERENCES head,
    subject BLOB NOT NULL CHECK (length(subject) = 16),
    kek     TEXT NOT NULL,
    body    BLOB NOT NULL,
    PRIMARY KEY (firm, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstone_by_kek ON tombstone (firm, kek);

CREATE TABLE copy (
    no     INTEGER PRIMARY KEY,
    firm   INTEGER NOT NULL REFERENCES head,
    of     BLOB NOT NULL,
    holder TEXT NOT NULL,
    body   BLOB NOT NULL,
    UNIQUE (firm, of, holder)
) STRICT;
