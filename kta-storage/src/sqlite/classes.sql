-- A record names its policy class by a small number instead of 32 bytes, and what governs a class
-- can change without a record's being touched.

-- Under which class records were written, and which class governs them now. A class that was
-- superseded and put in force again has a row for each time; the latest one is for what is
-- written now.
CREATE TABLE class (
    no        INTEGER PRIMARY KEY,
    firm      INTEGER NOT NULL REFERENCES firm,
    id        BLOB NOT NULL CHECK (length(id) = 32),
    governing BLOB NOT NULL CHECK (length(governing) = 32)
) STRICT;
CREATE INDEX class_by_id ON class (firm, id);
CREATE INDEX class_by_governing ON class (firm, governing);

INSERT INTO class (firm, id, governing) SELECT DISTINCT firm, class, class FROM record;

-- The purposes that each interned class has and that nobody objected to.
CREATE TABLE admits (
    firm    INTEGER NOT NULL REFERENCES firm,
    purpose TEXT NOT NULL,
    class   BLOB NOT NULL CHECK (length(class) = 32),
    PRIMARY KEY (firm, purpose, class)
) STRICT, WITHOUT ROWID;

INSERT INTO admits (firm, purpose, class)
    SELECT sheet.firm, purpose.key, unhex(sheet.id)
    FROM sheet, json_each(CAST(sheet.body AS TEXT), '$.purposes') AS purpose
    WHERE sheet.register = 'classes';

-- As it was but for the class.
CREATE TABLE record_classed (
    no       INTEGER PRIMARY KEY,
    firm     INTEGER NOT NULL REFERENCES firm,
    subject  BLOB NOT NULL CHECK (length(subject) = 16),
    record   BLOB NOT NULL CHECK (length(record) = 16),
    matter   BLOB CHECK (length(matter) = 16),
    revision INTEGER NOT NULL,
    schema   TEXT NOT NULL,
    class    INTEGER NOT NULL REFERENCES class,
    header   BLOB NOT NULL,
    fields   BLOB NOT NULL,
    tags     BLOB NOT NULL,
    UNIQUE (firm, subject, record)
) STRICT;
INSERT INTO record_classed
    SELECT no, firm, subject, record, matter, revision, schema,
        (SELECT class.no FROM class WHERE class.firm = record.firm AND class.id = record.class),
        header, fields, tags
    FROM record;
DROP TABLE record;
ALTER TABLE record_classed RENAME TO record;
CREATE INDEX record_by_matter ON record (firm, matter, record) WHERE matter IS NOT NULL;
CREATE INDEX record_by_class ON record (firm, class, record);
