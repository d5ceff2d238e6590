-- Version 3. Which removed bytes the files may still hold: written with the commit that removes
-- them, gone when the files are clean of them. 16 bytes each, inverted, so that whoever looks for
-- them in the file does not find them here.

CREATE TABLE scrub (
    no    INTEGER PRIMARY KEY,
    marks BLOB NOT NULL
) STRICT;
