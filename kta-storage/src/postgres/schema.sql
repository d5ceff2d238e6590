-- Version 1. The primary key of every table, and every index, begins with the tenant, so that a
-- distributed engine can shard all of them by it; what concerns a person has the person next.
-- No sequence, no trigger, no extension. Row security binds the owner of the tables too.
--
-- Times are milliseconds (log) or microseconds (jobs, erasures) since 1970 in UTC. Texts by which
-- rows are ordered are ordered by their bytes.

-- A firm and how far its log has come; its row is the lock under which the firm is written to.
CREATE TABLE kta.firm (
    tenant  uuid PRIMARY KEY,
    size    int8 NOT NULL DEFAULT 0 CHECK (size >= 0),
    last_at int8
) WITH (fillfactor = 50);

-- The number of the last transaction of each process that writes: by it a process knows, when
-- the connection was lost during COMMIT, whether that took effect.
CREATE TABLE kta.writer (
    tenant uuid NOT NULL,
    id     uuid NOT NULL,
    batch  int8 NOT NULL,
    at     timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 50);

-- The log. The application may add to it and read it, nothing else.
CREATE TABLE kta.entry (
    tenant uuid NOT NULL,
    seq    int8 NOT NULL CHECK (seq >= 0),
    bytes  bytea NOT NULL,
    PRIMARY KEY (tenant, seq)
);

-- Which entries name a person. Entries are never older than the one before, so this order is
-- theirs.
CREATE TABLE kta.trail (
    tenant  uuid NOT NULL,
    subject uuid NOT NULL,
    at      int8 NOT NULL,
    seq     int8 NOT NULL,
    PRIMARY KEY (tenant, subject, at, seq)
);

-- Sealed records; `fields` is in the compact form of row.rs.
CREATE TABLE kta.record (
    tenant   uuid NOT NULL,
    subject  uuid NOT NULL,
    record   uuid NOT NULL,
    matter   uuid,
    revision int8 NOT NULL,
    schema   text NOT NULL,
    class    bytea NOT NULL CHECK (length(class) = 32),
    header   bytea NOT NULL,
    fields   bytea NOT NULL,
    PRIMARY KEY (tenant, subject, record)
);
CREATE INDEX record_by_matter ON kta.record (tenant, matter, record, subject)
    WHERE matter IS NOT NULL;
-- Ciphertext does not become smaller by compressing it.
ALTER TABLE kta.record ALTER COLUMN fields SET STORAGE EXTERNAL;

-- The blind index.
CREATE TABLE kta.tag (
    tenant  uuid NOT NULL,
    field   text COLLATE "C" NOT NULL,
    tag     bytea NOT NULL,
    subject uuid NOT NULL,
    record  uuid NOT NULL,
    PRIMARY KEY (tenant, field, tag, record, subject)
);
CREATE INDEX tag_by_record ON kta.tag (tenant, subject, record);

CREATE TABLE kta.placement (
    tenant  uuid NOT NULL,
    subject uuid NOT NULL,
    id      uuid NOT NULL,
    matter  uuid,
    system  text COLLATE "C" NOT NULL,
    body    bytea NOT NULL,
    PRIMARY KEY (tenant, subject, id),
    UNIQUE (tenant, id)
);
CREATE INDEX placement_by_matter ON kta.placement (tenant, matter, id) WHERE matter IS NOT NULL;

CREATE TABLE kta.hold (
    tenant uuid NOT NULL,
    id     uuid NOT NULL,
    active bool NOT NULL,
    body   bytea NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX hold_active ON kta.hold (tenant, id) WHERE active;

CREATE TABLE kta.sheet (
    tenant   uuid NOT NULL,
    register text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    subject  uuid,
    matter   uuid,
    revision int8 NOT NULL,
    body     bytea NOT NULL,
    PRIMARY KEY (tenant, register, id)
);
CREATE INDEX sheet_by_subject ON kta.sheet (tenant, subject, register, id)
    WHERE subject IS NOT NULL;
CREATE INDEX sheet_by_matter ON kta.sheet (tenant, matter, register, id) WHERE matter IS NOT NULL;

-- The outbox. `ready` is from when on the job may be leased; never again when it is null. Leased
-- and settled rows change often, so they are swept often.
CREATE TABLE kta.job (
    tenant       uuid NOT NULL,
    id           uuid NOT NULL,
    kind         text NOT NULL,
    subject      uuid,
    matter       uuid,
    due          int8 NOT NULL,
    ready        int8,
    attempts     int8 NOT NULL,
    state        text NOT NULL CHECK (state IN ('dead', 'done', 'leased', 'waiting')),
    lease        int8 NOT NULL,
    leased_until int8,
    reason       text,
    payload      bytea NOT NULL,
    PRIMARY KEY (tenant, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX job_ready ON kta.job (tenant, due, id) WHERE ready IS NOT NULL;

-- When what a placement stood for was erased here: from then on the server's history runs out.
CREATE TABLE kta.erased (
    tenant    uuid NOT NULL,
    subject   uuid NOT NULL,
    placement uuid NOT NULL,
    at        int8 NOT NULL,
    PRIMARY KEY (tenant, subject, placement)
);
