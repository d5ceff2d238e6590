-- Version 2. A person's former key: kept while values are sealed anew, then what is known of its
-- end. The wrapped bytes have a column of their own, so that they can be looked for in the file.

ALTER TABLE subject ADD COLUMN former BLOB;
ALTER TABLE subject ADD COLUMN former_wrapped BLOB;
