//! Whether everything in the file can be read as what it is.

use kta_core::audit::Log;
use kta_core::id::TenantId;
use kta_core::{Port, Result};
use rusqlite::Connection;

use super::fault::broken;
use super::{FORM, log, trail};

/// Pages and indexes, then what governs each firm's records, its trail and its log.
pub(super) fn whole(db: &Connection) -> Result<()> {
    FORM.check(db)?;
    log::ends(db)?;
    let told = broken(Port::Store, "check");
    if !db
        .query_row(GOVERNED, [], |row| row.get(0))
        .map_err(&told)?
    {
        return Err(FORM.corrupt("no class governs a record"));
    }
    trail::check(db)?;
    let firms = || -> rusqlite::Result<Vec<[u8; 16]>> {
        let mut firms = db.prepare("SELECT tenant FROM firm")?;
        let firms = firms.query_map([], |row| row.get(0))?;
        firms.collect()
    };
    for firm in firms().map_err(told)? {
        entries(db, TenantId::from_bytes(firm))?;
    }
    Ok(())
}

/// Each entry is canonical, has the next number, and is not older than the one before.
fn entries(db: &Connection, tenant: TenantId) -> Result<()> {
    let mut whole = Log::new("check");
    loop {
        let page = log::entries(db, tenant, whole.size(), PAGE)?;
        if page.is_empty() {
            return Ok(());
        }
        for entry in page {
            let fits = whole.append(&entry);
            fits.map_err(|_| FORM.corrupt("an entry of the log is damaged"))?;
        }
    }
}

const GOVERNED: &str = "SELECT NOT EXISTS (SELECT 1 FROM record r
    LEFT JOIN cohort c ON c.no = r.cohort LEFT JOIN reign g ON g.no = c.reign AND g.firm = r.firm
    WHERE g.no IS NULL)";

/// Entries read at once.
const PAGE: usize = 4096;
