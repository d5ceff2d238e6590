-- Entries that are committed together stand in one row or few, each told from one before it (see
-- log_page.rs); `seq` is the number of the first. What an earlier version wrote stays as it is.
COMMENT ON TABLE kta.entry IS 'pages of canonical entries';
