-- Walls between tenants, in every table and for every role that has no BYPASSRLS. Without a tenant
-- set in the transaction nothing is seen and nothing can be written.
ALTER TABLE kta.firm ENABLE ROW LEVEL SECURITY;
ALTER TABLE kta.firm FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_alone ON kta.firm;
CREATE POLICY tenant_alone ON kta.firm
    USING (tenant = nullif(current_setting('kta.tenant', true), '')::uuid)
    WITH CHECK (tenant = nullif(current_setting('kta.tenant', true), '')::uuid);
ALTER TABLE kta.writer ENABLE ROW LEVEL SECURITY;
ALTER TABLE kta.writer FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_alone ON kta.writer;
CREATE POLICY tenant_alone ON kta.writer
    USING (tenant = nullif(current_setting('kta.tenant', true), '')::uuid)
    WITH CHECK (tenant = nullif(current_setting('kta.tenant', true), '')::uuid);
ALTER TABLE kta.entry ENABLE ROW LEVEL SECURITY;
ALTER TABLE kta.entry FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_alone ON kta.entry;
CREATE POLICY tenant_alone ON kta.entry
    USING (tenant = nullif(current_setting('kta.tenant', true), '')::uuid)
    WITH CHECK (tenant = nullif(current_setting('kta.tenant', true), '')::uuid);
ALTER TABLE kta.trail ENABLE ROW LEVEL SECURITY;
ALTER TABLE kta.trail FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_alone ON kta.trail;
CREATE POLICY tenant_alone ON kta.trail
    USING (tenant = nullif(current_setting('kta.tenant', true), '')::uuid)
    WITH CHECK (tenant = nullif(current_setting('kta.tenant', true), '')::uuid);
ALTER TABLE kta.record ENABLE ROW LEVEL SECURITY;
ALTER TABLE kta.record FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_alone ON kta.record;
CREATE POLICY tenant_alone ON kta.record
    USING (tenant = nullif(current_setting('kta.tenant', true), '')::uuid)
    WITH CHECK (tenant = nullif(current_setting('kta.tenant', true), '')::uuid);
ALTER TABLE kta.tag ENABLE ROW LEVEL SECURITY;
ALTER TABLE kta.tag FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_alone ON kta.tag;
CREATE POLICY tenant_alone ON kta.tag
    USING (tenant = nullif(current_setting('kta.tenant', true), '')::uuid)
    WITH CHECK (tenant = nullif(current_setting('kta.tenant', true), '')::uuid);
ALTER TABLE kta.placement ENABLE ROW LEVEL SECURITY;
ALTER TABLE kta.placement FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_alone ON kta.placement;
CREATE POLICY tenant_alone ON kta.placement
    USING (tenant = nullif(current_setting('kta.tenant', true), '')::uuid)
    WITH CHECK (tenant = nullif(current_setting('kta.tenant', true), '')::uuid);
ALTER TABLE kta.hold ENABLE ROW LEVEL SECURITY;
ALTER TABLE kta.hold FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_alone ON kta.hold;
CREATE POLICY tenant_alone ON kta.hold
    USING (tenant = nullif(current_setting('kta.tenant', true), '')::uuid)
    WITH CHECK (tenant = nullif(current_setting('kta.tenant', true), '')::uuid);
ALTER TABLE kta.sheet ENABLE ROW LEVEL SECURITY;
ALTER TABLE kta.sheet FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_alone ON kta.sheet;
CREATE POLICY tenant_alone ON kta.sheet
    USING (tenant = nullif(current_setting('kta.tenant', true), '')::uuid)
    WITH CHECK (tenant = nullif(current_setting('kta.tenant', true), '')::uuid);
ALTER TABLE kta.job ENABLE ROW LEVEL SECURITY;
ALTER TABLE kta.job FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_alone ON kta.job;
CREATE POLICY tenant_alone ON kta.job
    USING (tenant = nullif(current_setting('kta.tenant', true), '')::uuid)
    WITH CHECK (tenant = nullif(current_setting('kta.tenant', true), '')::uuid);
ALTER TABLE kta.erased ENABLE ROW LEVEL SECURITY;
ALTER TABLE kta.erased FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant_alone ON kta.erased;
CREATE POLICY tenant_alone ON kta.erased
    USING (tenant = nullif(current_setting('kta.tenant', true), '')::uuid)
    WITH CHECK (tenant = nullif(current_setting('kta.tenant', true), '')::uuid);

-- What the role of the application may do. Nobody but the owner changes or removes an entry.
REVOKE ALL ON ALL TABLES IN SCHEMA kta FROM application;
GRANT USAGE ON SCHEMA kta TO application;
GRANT SELECT ON kta.migration TO application;
GRANT SELECT, INSERT ON kta.entry, kta.trail TO application;
GRANT SELECT, INSERT, UPDATE ON kta.placement, kta.hold, kta.job, kta.erased TO application;
GRANT SELECT, INSERT, UPDATE, DELETE ON kta.writer, kta.record, kta.sheet TO application;
GRANT SELECT, INSERT, DELETE ON kta.tag TO application;
GRANT SELECT, INSERT, UPDATE (size, last_at) ON kta.firm TO application;
