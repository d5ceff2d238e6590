-- Version 1. The table of wrapped keys; nothing of the records stands in this schema. What is said
-- of the records' tables holds here too: the tenant first, no sequence, row security.

-- The row is the lock under which the firm's keys are changed.
CREATE TABLE kta_keys.firm (
    tenant uuid PRIMARY KEY
);

CREATE TABLE kta_keys.writer (
    tenant uuid NOT NULL,
    id     uuid NOT NULL,
    batch  int8 NOT NULL,
    at     timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 50);

CREATE TABLE kta_keys.head (
    tenant uuid PRIMARY KEY,
    body   bytea NOT NULL
);

CREATE TABLE kta_keys.node (
    tenant  uuid NOT NULL,
    level   int8 NOT NULL,
    place   int8 NOT NULL,
    version int8 NOT NULL,
    wrapped bytea NOT NULL,
    PRIMARY KEY (tenant, level, place)
);

CREATE TABLE kta_keys.subject (
    tenant         uuid NOT NULL,
    subject        uuid NOT NULL,
    slot           int8 NOT NULL,
    generation     int8 NOT NULL,
    fingerprint    bytea NOT NULL CHECK (length(fingerprint) = 32),
    wrapped        bytea NOT NULL,
    former         bytea,
    former_wrapped bytea,
    PRIMARY KEY (tenant, subject),
    UNIQUE (tenant, slot)
);

CREATE TABLE kta_keys.tombstone (
    tenant  uuid NOT NULL,
    subject uuid NOT NULL,
    kek     text COLLATE "C" NOT NULL,
    body    bytea NOT NULL,
    PRIMARY KEY (tenant, subject)
);
CREATE INDEX tombstone_by_kek ON kta_keys.tombstone (tenant, kek);

-- Copies of keys elsewhere, in the order in which they were last declared.
CREATE TABLE kta_keys.copy (
    tenant   uuid NOT NULL,
    of       bytea NOT NULL,
    holder   text COLLATE "C" NOT NULL,
    revision int8 NOT NULL,
    place    int8 NOT NULL,
    body     bytea NOT NULL,
    PRIMARY KEY (tenant, of, holder)
);
