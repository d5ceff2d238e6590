//! What a file keeps of a firm that the ports do not list, for whoever moves the firm.

use async_trait::async_trait;
use kta_core::id::{Digest, TenantId};
use kta_core::{Port, Result};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use sha2::{Digest as _, Sha256};

use super::SqliteStore;
use super::fault::broken;
use crate::router::Shard;

#[async_trait]
impl Shard for SqliteStore {
    async fn unlisted(&self, tenant: TenantId) -> Result<Option<Digest>> {
        let read = move |db: &Connection| {
            let digest = digest(db, tenant).map_err(broken(Port::Store, "agree"))?;
            Ok(Some(digest))
        };
        self.read_aside("agree", read).await
    }
}

fn digest(db: &Connection, tenant: TenantId) -> rusqlite::Result<Digest> {
    let mut hash = Sha256::new();
    for sql in [RECORDS, TAGS, CLASSES] {
        let mut statement = db.prepare_cached(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([tenant.as_bytes()])?;
        let mut many = 0_u64;
        while let Some(row) = rows.next()? {
            many += 1;
            for column in 0..columns {
                add(&mut hash, row.get_ref(column)?);
            }
        }
        hash.update(many.to_be_bytes());
    }
    Ok(Digest::from_bytes(hash.finalize().into()))
}

/// Each value with its kind and length, so that no two rows look alike.
fn add(hash: &mut Sha256, value: ValueRef<'_>) {
    let (kind, bytes): (u8, &[u8]) = match value {
        ValueRef::Null => (0, &[]),
        ValueRef::Integer(number) => (1, &number.to_be_bytes()),
        ValueRef::Real(number) => (2, &number.to_be_bytes()),
        ValueRef::Text(text) => (3, text),
        ValueRef::Blob(bytes) => (4, bytes),
    };
    hash.update([kind]);
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

/// Whole, with the tags that each is to lose when it is removed.
const RECORDS: &str = "SELECT r.subject, r.record, r.matter, r.revision, r.schema, g.governing,
        r.header, r.fields, r.tags
    FROM record r JOIN cohort c ON c.no = r.cohort JOIN reign g ON g.no = c.reign
    WHERE r.firm = (SELECT no FROM firm WHERE tenant = ?1) ORDER BY r.subject, r.record";

const TAGS: &str = "SELECT t.field, t.tag, r.subject, r.record
    FROM tag t CROSS JOIN record r ON r.no = t.record AND r.firm = t.firm
    WHERE t.firm = (SELECT no FROM firm WHERE tenant = ?1)
    ORDER BY t.field, t.tag, r.subject, r.record";

const CLASSES: &str = "SELECT c.id, g.governing, c.admits
    FROM class c LEFT JOIN reign g ON g.no = c.reign
    WHERE c.firm = (SELECT no FROM firm WHERE tenant = ?1) ORDER BY c.id";
