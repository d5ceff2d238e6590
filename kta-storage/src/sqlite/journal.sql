-- How far the log has taken in each journal of bounded events (see journal.rs), so that a journal
-- that is read twice is entered once. A row stays for good: some forty bytes for each time that the
-- store was open and somebody read.

CREATE TABLE journal (
    id    BLOB PRIMARY KEY CHECK (length(id) = 16),
    taken INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
