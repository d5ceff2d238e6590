-- What this store is called, however its server is reached: the journals of bounded openings on the
-- application's machines have it in their names. The row of version 1 has it, for good.
ALTER TABLE kta.migration ADD COLUMN store uuid;
UPDATE kta.migration SET store = gen_random_uuid() WHERE version = 1;
