-- How far the log has taken in each journal of bounded openings that the application's machines
-- keep, so that a journal that is read twice is entered once. A row stays for good.
CREATE TABLE kta.journal (
    tenant uuid NOT NULL,
    id     uuid NOT NULL,
    taken  int8 NOT NULL CHECK (taken >= 0),
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 50);
