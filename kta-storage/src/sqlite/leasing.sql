-- Jobs in the order in which they are leased, so that a lease reads as many as it takes, however
-- many are due. By `ready` first, all that were due had to be read and sorted each time.

DROP INDEX job_ready;
CREATE INDEX job_by_due ON job (firm, due, id) WHERE ready IS NOT NULL;
