//! Whether everything in the file can be read as what it is.

use kta_core::audit::Log;
use kta_core::id::TenantId;
use kta_core::{Error, Port, Result};
use rusqlite::Connection;

use super::fault::broken;
use super::{FORM, check_logs, query, row};

/// Pages and indexes, then logs, then records.
pub(super) fn whole(db: &Connection) -> Result<()> {
    FORM.check(db)?;
    check_logs(db)?;
    let told = broken(Port::Store, "check");
    let firms = || -> rusqlite::Result<Vec<[u8; 16]>> {
        let mut firms = db.prepare("SELECT tenant FROM firm")?;
        let firms = firms.query_map([], |row| row.get(0))?;
        firms.collect()
    };
    for firm in firms().map_err(&told)? {
        entries(db, TenantId::from_bytes(firm))?;
    }
    let records = || -> rusqlite::Result<bool> {
        let mut all = db.prepare("SELECT fields, tags FROM record")?;
        let mut all = all.query([])?;
        while let Some(record) = all.next()? {
            let (fields, tags) = (record.get_ref(0)?, record.get_ref(1)?);
            let fields = row::read_fields(fields.as_blob()?);
            if fields.is_none() || row::read_tags(tags.as_blob()?).is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if records().map_err(told)? {
        Ok(())
    } else {
        Err(FORM.corrupt("a record cannot be read"))
    }
}

/// Each entry is canonical, has the next number, and is not older than the one before.
fn entries(db: &Connection, tenant: TenantId) -> Result<()> {
    let mut log = Log::new("check");
    loop {
        let page = query::entries(db, tenant, log.size(), PAGE)?;
        if page.is_empty() {
            return Ok(());
        }
        for entry in page {
            let fits = log.append(&entry);
            fits.map_err(|_| Error::from(FORM.corrupt("an entry of the log is damaged")))?;
        }
    }
}

/// Entries read at once.
const PAGE: usize = 4096;
